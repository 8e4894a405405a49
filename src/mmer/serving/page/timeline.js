// The timeline of a recording: a strip and a table.

import { $, element, percent } from "./service.js";

const COLORS = ["#3d87d6", "#d9722e", "#2f9e6e", "#b86bb0", "#c69214", "#4fb0c6", "#a35d3f", "#7d8797"];

const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

// Show a timeline; answers below the confidence `minimum` are marked as abstained.
export function showTimeline(found, minimum) {
  const color = (label) => COLORS[found.labels.indexOf(label) % COLORS.length];
  const answered = found.segments.filter((segment) => segment.label !== null);
  $("timeline-summary").textContent = found.segments.length
    ? `${found.segments.length} segments of speech in ${clock(found.duration)}; ${answered.length} answered.`
    : `No speech was found in ${clock(found.duration)}.`;
  $("strip").replaceChildren(...answered.map((segment) => {
    const block = element("div", "", { className: segment.confidence < minimum ? "unsure" : "" });
    Object.assign(block.style, {
      left: `${(100 * segment.start) / found.duration}%`,
      width: `${(100 * (segment.end - segment.start)) / found.duration}%`,
      height: `${100 * segment.confidence}%`,
      background: color(segment.label),
    });
    block.title = `${clock(segment.start)} ${segment.label} ${percent(segment.confidence)}`;
    block.addEventListener("click", () => playFrom(segment.start));
    return block;
  }));
  $("axis").replaceChildren(...[0, 0.5, 1].map((share) => element("span", clock(share * found.duration))));
  $("segments").tBodies[0].replaceChildren(...found.segments.map((segment) => row(segment, color, minimum)));
  $("segments").className = found.segments.every((segment) => !saying(segment)) ? "wordless" : "";
  $("timeline").hidden = false;
}

function row(segment, color, minimum) {
  const made = document.createElement("tr");
  const button = element("button", `${clock(segment.start)} – ${clock(segment.end)}`, { type: "button", className: "plain" });
  button.setAttribute("aria-label", `Play from ${clock(segment.start)} to ${clock(segment.end)}`);
  button.addEventListener("click", () => playFrom(segment.start));
  const time = document.createElement("td");
  time.append(button);
  const answer = document.createElement("td");
  if (segment.label === null) {
    answer.append(element("span", segment.error, { className: "quiet" }));
  } else {
    const dot = element("span", "", { className: "dot" });
    dot.style.background = color(segment.label);
    const unsure = segment.confidence < minimum;
    answer.append(dot, unsure ? `abstains (${segment.label})` : segment.label);
  }
  made.append(time, answer, element("td", segment.confidence === null ? "" : percent(segment.confidence)),
    element("td", saying(segment)));
  return made;
}

// The speaker and the words, as far as they are known.
function saying({ speaker, channel, transcript }) {
  const who = speaker ?? (channel === "mix" ? "" : channel);
  return [who, transcript && `“${transcript}”`].filter(Boolean).join(": ");
}

function playFrom(seconds) {
  $("player").currentTime = seconds;
  $("player").play();
}
