// The timeline of a recording: a strip for each channel, a legend, a table of all segments, and a download.

import { $, clock, counted, element, fixed, isolated, percent, service } from "./service.js";

const NARROWEST = 14; // mean width of a segment in CSS pixels; a longer recording scrolls

// Show a timeline; answers below the confidence `minimum` are marked as abstained.
export function showTimeline(found, minimum) {
  const color = (label) => service.model.colors[label];
  const answered = found.segments.filter((segment) => segment.label !== null);
  const channels = [...new Set(found.segments.map((segment) => segment.channel))];
  const failed = found.segments.filter((segment) => segment.error !== null).length;
  $("timeline-summary").textContent = found.segments.length
    ? `${counted(found.segments.length, "segment")} of speech in ${clock(found.duration)}; ${found.segments.length - failed} answered.`
    : `No speech was found in ${clock(found.duration)}.`;
  $("legend").replaceChildren(...legend(found, answered, color));
  $("strips").hidden = found.dimensions.length > 0;
  $("strips").style.minWidth = `${NARROWEST * answered.length}px`;
  $("strips").replaceChildren(
    ...channels.flatMap((channel) => strip(found, answered, channel, channels.length > 1, color, minimum)),
    axis(found.duration));
  const warnings = kindsOfWarnings(found.segments);
  $("timeline-warnings").replaceChildren(...warnings.map((text) => element("li", text)));
  $("timeline-warnings").hidden = !warnings.length;
  $("segments").tBodies[0].replaceChildren(...found.segments.map((segment) => row(segment, color, minimum)));
  $("segments").classList.toggle("wordless", found.segments.every((segment) => !saying(segment)));
  $("segments").classList.toggle("dimensional", found.dimensions.length > 0);
  $("timeline").classList.toggle("silent", !found.segments.length);
  offerCsv(found, minimum);
  $("timeline").hidden = false;
}

function legend(found, answered, color) {
  const spoken = answered.reduce((sum, { start, end }) => sum + end - start, 0);
  return found.labels.map((label) => {
    const seconds = answered.filter((segment) => segment.label === label).reduce((sum, { start, end }) => sum + end - start, 0);
    const item = element("li");
    item.append(dot(color(label)), spoken ? `${isolated(label)}: ${percent(seconds / spoken)} of speech` : label);
    return item;
  });
}

// A sentence for each kind of warning: those that differ in their numbers alone are of one kind.
function kindsOfWarnings(segments) {
  const kinds = new Map();
  for (const text of segments.flatMap((segment) => segment.warnings)) {
    const kind = text.replace(/\d+(\.\d+)?/g, "#");
    kinds.set(kind, [...(kinds.get(kind) ?? []), text]);
  }
  return [...kinds.values()].map((texts) => {
    const example = new Set(texts).size > 1 ? "for example " : "";
    return `${texts.length} of ${counted(segments.length, "segment")}: ${example}${texts[0]}`;
  });
}

function strip(found, answered, channel, isNamed, color, minimum) {
  const made = element("div", "", { className: "strip" });
  made.append(...answered.filter((segment) => segment.channel === channel).map((segment) => {
    const block = element("div", "", { className: segment.confidence < minimum ? "unsure" : "" });
    Object.assign(block.style, {
      left: `${(100 * segment.start) / found.duration}%`,
      width: `${(100 * (segment.end - segment.start)) / found.duration}%`,
      height: `${100 * segment.confidence}%`,
      background: color(segment.label),
    });
    block.title = `${clock(segment.start)} ${isolated(segment.label)} ${percent(segment.confidence)}`;
    block.addEventListener("click", () => playFrom(segment.start));
    return block;
  }));
  return isNamed ? [element("p", `Channel ${channel}`, { className: "quiet" }), made] : [made];
}

function axis(duration) {
  const made = element("div", "", { className: "axis" });
  made.append(...[0, 0.25, 0.5, 0.75, 1].map((share) => element("span", clock(share * duration))));
  return made;
}

function dot(background) {
  const made = element("span", "", { className: "dot" });
  made.style.background = background;
  return made;
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
    answer.append(element("span", segment.error ?? shown(segment.dimensions), { className: "quiet" }));
  } else {
    const unsure = segment.confidence < minimum;
    answer.append(dot(color(segment.label)), unsure ? `abstains (${segment.label})` : segment.label);
  }
  made.append(time, answer, element("td", segment.confidence === null ? "" : percent(segment.confidence)),
    element("td", saying(segment)));
  return made;
}

function shown(dimensions) {
  return Object.entries(dimensions).map(([name, value]) => `${isolated(name)} ${fixed(value)}`).join(", ");
}

// The speaker and the words, as far as they are known.
function saying({ speaker, channel, transcript }) {
  const who = speaker ?? (channel === "mix" ? "" : channel);
  return [isolated(who), transcript && `“${transcript}”`].filter(Boolean).join(": ");
}

function playFrom(seconds) {
  $("player").currentTime = seconds;
  $("player").play();
}

function offerCsv(found, minimum) {
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const columns = ["start", "end", "channel", "speaker", "label", ...found.labels.map((label) => `probability_${label}`),
    ...found.dimensions.map((name) => `dimension_${name}`),
    "transcript", "transcript_source", "abstained", "warnings", "error"];
  const rows = found.segments.map((segment) => [
    segment.start, segment.end, segment.channel, segment.speaker, segment.label,
    ...found.labels.map((label) => segment.probabilities?.[label]),
    ...found.dimensions.map((name) => segment.dimensions?.[name]),
    segment.transcript, segment.transcript_source, segment.confidence === null ? null : segment.confidence < minimum,
    segment.warnings.join("; "), segment.error,
  ]);
  const lines = [columns, ...rows].map((values) => values.map((value) => cell(String(value ?? ""))).join(","));
  const link = $("csv");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
  link.download = `${found.recording.replace(/\.[^.]*$/, "")}.csv`;
}
