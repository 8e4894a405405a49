// The explanation of an answer: a picture, and its most important figures in words.

import { $, element, percent } from "./service.js";

const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;

export function showExplanation({ explanation, picture }) {
  const { prediction, words, moments, sound_share, text_share, counterfactuals, notes } = explanation;
  $("explanation-picture").src = `data:image/png;base64,${picture}`;
  const rows = [];
  const strongest = (parts) => parts.reduce((best, part) => (!best || part.drop > best.drop ? part : best), null);
  if (text_share !== null) rows.push(["Words, all together", `${signed(text_share)} of the log-odds of ${prediction.label}`]);
  if (sound_share !== null) rows.push(["Sound, all together", `${signed(sound_share)} of the log-odds of ${prediction.label}`]);
  const word = strongest(words), moment = strongest(moments);
  if (word) rows.push(["Word that counts most", `“${word.word}”: ${signed(-word.drop)} without it`]);
  if (moment) rows.push(["Moment that counts most", `${moment.start.toFixed(2)} to ${moment.end.toFixed(2)} s: ${signed(-moment.drop)} without it`]);
  for (const [name, other] of Object.entries(counterfactuals)) {
    rows.push([name[0].toUpperCase() + name.slice(1), `${other.label}, ${percent(other.probabilities[other.label])} (${other.change})`]);
  }
  for (const note of notes) rows.push(["Note", note]);
  $("explanation-facts").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  $("explanation").hidden = false;
}
