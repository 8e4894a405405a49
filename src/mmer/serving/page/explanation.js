// The explanation of an answer: words and moments by what they contribute, in figures and as bars, and the same as a picture.

import { $, element, isolated, percent, signed } from "./service.js";

export function showExplanation({ explanation, picture }) {
  const { sentence, prediction, words, moments, sound_share, text_share, counterfactuals, notes } = explanation;
  $("explanation-picture").src = `data:image/png;base64,${picture}`;
  const rows = [["In one sentence", sentence]];
  const strongest = (parts) => parts.reduce((best, part) => (!best || part.drop > best.drop ? part : best), null);
  if (text_share !== null) rows.push(["Words, all together", `${signed(text_share)} of the log-odds of ${isolated(prediction.label)}`]);
  if (sound_share !== null) rows.push(["Sound, all together", `${signed(sound_share)} of the log-odds of ${isolated(prediction.label)}`]);
  const word = strongest(words), moment = strongest(moments);
  if (word) rows.push(["Word that counts most", `“${isolated(word.word)}”: ${signed(-word.drop)} without it`]);
  if (moment) rows.push(["Moment that counts most", `${moment.start.toFixed(2)} to ${moment.end.toFixed(2)} s: ${signed(-moment.drop)} without it`]);
  for (const [name, other] of Object.entries(counterfactuals)) {
    rows.push([name[0].toUpperCase() + name.slice(1), `${isolated(other.label)}, ${percent(other.probabilities[other.label])} (${other.change})`]);
  }
  for (const warning of prediction.warnings) rows.push(["Warning", warning]);
  for (const note of notes) rows.push(["Note", note]);
  $("explanation-facts").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  const most = Math.max(...[...words, ...moments].map((part) => Math.abs(part.drop)), 1e-9);
  fill("explanation-words", words.map((part) => [`“${part.word}”`, part.drop]), most);
  fill("explanation-moments", moments.map((part) => [`${part.start.toFixed(1)} – ${part.end.toFixed(1)} s`, part.drop]), most);
  $("explanation").hidden = false;
}

// A table with a bar for each part: to the right if the part speaks for the answer, to the left if against it.
function fill(id, parts, most) {
  $(id).hidden = !parts.length;
  $(id).tBodies[0].replaceChildren(...parts.map(([name, drop]) => {
    const row = document.createElement("tr");
    const track = element("div", "", { className: "track both" }), bar = element("div", "", { className: drop < 0 ? "against" : "for" });
    bar.style.width = `${(50 * Math.abs(drop)) / most}%`;
    track.append(bar);
    track.setAttribute("aria-hidden", "true");
    const cell = document.createElement("td");
    cell.append(track);
    row.append(element("th", name, { scope: "row" }), cell, element("td", signed(drop)));
    return row;
  }));
}
