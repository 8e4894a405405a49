// Why the model answers so: the picture, and in words what it shows.

import { $, element, percent } from "./service.js";

const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;

export function showExplanation({ explanation, picture }) {
  const { prediction, words, moments, sound_share, text_share, counterfactuals, notes } = explanation;
  $("explanation-picture").src = `data:image/png;base64,${picture}`;
  const told = [];
  const strongest = (parts) => parts.reduce((best, part) => (!best || part.drop > best.drop ? part : best), null);
  if (text_share !== null) told.push(["Words, all together", `${signed(text_share)} of the log-odds of ${prediction.label}`]);
  if (sound_share !== null) told.push(["Sound, all together", `${signed(sound_share)} of the log-odds of ${prediction.label}`]);
  const word = strongest(words), moment = strongest(moments);
  if (word) told.push(["Word that counts most", `“${word.word}”: ${signed(-word.drop)} without it`]);
  if (moment) told.push(["Moment that counts most", `${moment.start.toFixed(2)} to ${moment.end.toFixed(2)} s: ${signed(-moment.drop)} without it`]);
  for (const [name, other] of Object.entries(counterfactuals)) {
    told.push([name[0].toUpperCase() + name.slice(1), `${other.label}, ${percent(other.probabilities[other.label])} (${other.change})`]);
  }
  for (const note of notes) told.push(["Note", note]);
  $("explanation-facts").replaceChildren(...told.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  $("explanation").hidden = false;
}
