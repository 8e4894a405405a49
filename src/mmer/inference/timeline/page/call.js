"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const player = $("player"), chart = $("chart"), track = $("track");
const LARGEST_ZOOM = 64;
let zoom = 1, now = 0;

function element(name, text = "", settings = {}) {
  return Object.assign(document.createElement(name), { textContent: text }, settings);
}
const percent = (share) => (share === null ? "-" : `${(100 * share).toFixed(0)}\u00a0%`);
const between = (low, high) => (low === null ? "" : ` (${(100 * low).toFixed(0)} – ${percent(high)})`);
// A name written from right to left, so that the numbers beside it stay where they are.
const isolated = (name) => (/[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/.test(name) ? `\u2068${name}\u2069` : name);
const place = (seconds) => `${(100 * seconds) / data.duration}%`;
function clock(seconds, digits = 0) {
  const whole = Number(seconds.toFixed(digits)), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const rest = (whole % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}
function colored(made, label) {
  made.style.setProperty("--e", data.colors[label]);
  return made;
}
const told = (segment) =>
  segment.dimensions ? Object.entries(segment.dimensions).map(([name, value]) => `${isolated(name)} ${value.toFixed(2).replace(/^-(?=[0.]+$)/, "")}`).join(", ")
  : segment.label ? `${isolated(segment.label)} ${percent(segment.confidence)}` : segment.error;
const dot = (label) => colored(element("span", "", { className: "dot" }), label);
const voiceName = (voice) => voice || "the recording";

// The table of segments and the blocks of the strips, in the order of data.segments.
const blocks = [], rows = [];
const shown = new Set(data.voices.map((voice) => voice.name));
const visible = () => data.segments.map((segment, index) => index).filter((index) => shown.has(data.segments[index].voice));

function jump(seconds, play = true) {
  now = seconds;
  if (player.src) {
    player.currentTime = seconds;
    if (play) player.play();
  }
  show(true);
}

// The segment that begins last up to this moment, among the voices that are shown.
function current() {
  let found = -1;
  for (const index of visible()) if (data.segments[index].start <= now + 0.001) found = index;
  return found;
}

function step(by) {
  const all = visible(), at = all.indexOf(current());
  const next = all[Math.min(Math.max(at + by, 0), all.length - 1)];
  if (next !== undefined) jump(data.segments[next].start, !player.paused);
}

function show(scroll) {
  const index = current(), segment = data.segments[index];
  const inside = segment && now < segment.end;
  for (const list of [blocks, rows]) list.forEach((made, other) => made.classList.toggle("chosen", Boolean(inside) && other === index));
  $("head").style.left = place(now);
  const said = segment?.transcript ? `: “${segment.transcript}”` : "";
  $("now").textContent = inside
    ? `${clock(now)} ${isolated(segment.voice)} ${told(segment)}${said}`
    : `${clock(now)}`;
  if (!scroll) return;
  const head = (now / data.duration) * track.clientWidth;
  if (head < chart.scrollLeft || head > chart.scrollLeft + 0.9 * chart.clientWidth) chart.scrollLeft = head - 0.2 * chart.clientWidth;
  if (inside) {
    const list = $("list"), row = rows[index];
    if (row.offsetTop < list.scrollTop + 40 || row.offsetTop + row.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = row.offsetTop - 80;
  }
}

function drawTicks() {
  track.querySelectorAll(".tick").forEach((tick) => tick.remove());
  const room = track.clientWidth / 90;
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
  const every = steps.find((seconds) => data.duration / seconds <= room) ?? Math.ceil(data.duration / room / 3600) * 3600;
  for (let at = 0; at < data.duration * 0.97; at += every) {
    const tick = element("span", clock(at), { className: "tick" });
    tick.style.left = place(at);
    track.append(tick);
  }
}

function setZoom(value) {
  zoom = Math.min(Math.max(value, 1), LARGEST_ZOOM);
  track.style.width = `${100 * zoom}%`;
  $("zoom").textContent = `${zoom}×`;
  drawTicks();
  chart.scrollLeft = (now / data.duration) * track.clientWidth - chart.clientWidth / 2;
}

function drawVoice(voice) {
  const made = element("div", "", { className: "voice" });
  if (data.voices.length > 1 || voice.name) made.append(element("b", voiceName(voice.name)));
  const strip = element("div", "", { className: "strip" });
  data.segments.forEach((segment, index) => {
    if (segment.voice !== voice.name) return;
    const block = element("i", "", { className: segment.dimensions ? "numbers" : segment.label ? "" : "none" });
    block.title = `${clock(segment.start)} ${told(segment)}`;
    block.style.left = place(segment.start);
    block.style.width = place(segment.end - segment.start);
    blocks[index] = segment.label ? colored(block, segment.label) : block;
    strip.append(block);
  });
  const lines = element("div", "", { className: "lines" });
  lines.append(element("span", data.dimensional ? Number(voice.top.toFixed(2)) : percent(voice.top), { className: "top" }));
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 1 1");
  svg.setAttribute("preserveAspectRatio", "none");
  for (const [label, values] of Object.entries(voice.lines)) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    let drawn = "", pen = "M";
    values.forEach((value, point) => {
      if (value !== null) drawn += `${pen}${(point / (values.length - 1)).toFixed(5)} ${(1 - (value - voice.bottom) / (voice.top - voice.bottom)).toFixed(4)}`;
      pen = value === null ? "M" : "L";
    });
    path.setAttribute("d", drawn);
    svg.append(colored(path, label));
  }
  lines.append(svg);
  for (const [label, peak] of Object.entries(voice.peaks)) {
    const mark = colored(element("span", "", { className: "peak" }), label);
    mark.title = `peak of ${isolated(label)}: ${percent(peak.probability)} at ${clock(peak.start)}`;
    mark.style.left = place((peak.start + peak.end) / 2);
    mark.style.top = `${100 * (1 - peak.probability / voice.top)}%`;
    lines.append(mark);
  }
  made.append(strip, lines);
  track.append(made);
  return made;
}

function cells(row, ...contents) {
  for (const content of contents) {
    const cell = document.createElement("td");
    cell.append(...[content].flat());
    row.append(cell);
  }
  return row;
}

function jumper(text, label, seconds) {
  const button = element("button", text, { type: "button", className: "plain" });
  button.setAttribute("aria-label", label);
  button.addEventListener("click", () => jump(seconds));
  return button;
}

function drawSegments() {
  data.segments.forEach((segment, index) => {
    const times = `${clock(segment.start, 1)} – ${clock(segment.end, 1)}`;
    const answer = segment.label ? [dot(segment.label), segment.label] : told(segment);
    rows[index] = cells(document.createElement("tr"), jumper(times, `Go to ${times}`, segment.start), segment.voice, answer,
      segment.label ? percent(segment.confidence) : "", segment.transcript ?? "");
  });
  $("segments").tBodies[0].append(...rows);
  $("segments").classList.toggle("dimensional", data.dimensional);
  $("segments").classList.toggle("wordless", data.segments.every((segment) => !segment.transcript));
  $("segments").classList.toggle("voiceless", data.segments.every((segment) => !segment.voice));
}

function drawSummaries() {
  const body = $("summaries").tBodies[0];
  for (const summary of data.summaries) {
    summary.emotions.filter((each) => each.share).forEach((each, number) => {
      const { longest, peak } = each;
      const times = `${clock(longest.start)} – ${clock(longest.end)}`;
      const said = peak.transcript ? ` “${peak.transcript}”` : "";
      body.append(cells(document.createElement("tr"), number ? "" : voiceName(summary.voice), [dot(each.label), each.label],
        percent(each.share) + between(each.share_low, each.share_high), percent(each.mean), each.thirds.map(percent).join(", "),
        [jumper(times, `Longest stretch of ${isolated(each.label)}: ${times}`, longest.start), ` ${longest.speech.toFixed(1)}\u00a0s of speech`],
        [jumper(`${percent(peak.probability)} at ${clock(peak.start)}`, `Peak of ${isolated(each.label)} at ${clock(peak.start)}`, peak.start), said]));
    });
  }
}

$("about").textContent = `${data.segments.length || "No"} segment${data.segments.length === 1 ? "" : "s"} of speech in ${clock(data.duration)}` + (data.smoothing ? `, smoothed over ${data.smoothing} s` : "");
$("legend").append(...data.labels.map((label) => {
  const item = document.createElement("li");
  item.append(dot(label), label);
  return item;
}));
track.append(element("div", "", { id: "head" }));
$("voices").hidden = data.voices.length < 2;
for (const voice of data.voices) {
  const drawn = drawVoice(voice);
  if (data.voices.length < 2) continue;
  const label = document.createElement("label"), box = element("input", "", { type: "checkbox", checked: true });
  box.addEventListener("change", () => {
    if (box.checked) shown.add(voice.name);
    else shown.delete(voice.name);
    drawn.hidden = !box.checked;
    data.segments.forEach((segment, index) => { rows[index].hidden = !shown.has(segment.voice); });
    show(false);
  });
  label.append(box, ` ${voiceName(voice.name)}`);
  $("voices").append(label);
}
for (const channel of data.silent) {
  const made = element("div", "", { className: "voice" });
  made.append(element("b", `${channel}: no segments of speech`), element("div", "", { className: "strip" }));
  track.append(made);
}
drawSegments();
if (!data.dimensional) drawSummaries();
drawTicks();
show(false);
$("download").href = URL.createObjectURL(new Blob([data.csv], { type: "text/csv" }));

$("in").addEventListener("click", () => setZoom(2 * zoom));
$("out").addEventListener("click", () => setZoom(zoom / 2));
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("file")?.addEventListener("change", (event) => {
  $("doubt").textContent = "";
  if (event.target.files[0]) player.src = URL.createObjectURL(event.target.files[0]);
});
if ($("file")) {
  player.addEventListener("loadedmetadata", () => {
    const { duration } = player; // Infinity where the file does not say it
    if (!Number.isFinite(duration) || Math.abs(duration - data.duration) <= Math.max(2, 0.02 * data.duration)) return;
    $("doubt").textContent = `This file is ${clock(duration)} long, and the recording of this page ${clock(data.duration)}: it may be another one.`;
  });
  player.addEventListener("error", () => { $("doubt").textContent = "This browser cannot play the file."; });
}
// A browser that comes back to the page fills in what was chosen there, and the page knows nothing of it.
addEventListener("pageshow", ({ persisted }) => {
  if (persisted) return;
  for (const box of document.querySelectorAll("[type=checkbox]")) box.checked = true;
  if ($("file")) $("file").value = "";
});
player.addEventListener("timeupdate", () => {
  now = player.currentTime;
  show($("follow").checked);
});
track.addEventListener("click", (event) => {
  jump(((event.clientX - track.getBoundingClientRect().left) / track.clientWidth) * data.duration, !player.paused);
});
chart.addEventListener("keydown", (event) => {
  const act = {
    ArrowRight: () => step(1), ArrowLeft: () => step(-1), "+": () => setZoom(2 * zoom), "-": () => setZoom(zoom / 2),
    " ": () => (player.src ? (player.paused ? player.play() : player.pause()) : null),
  }[event.key];
  if (!act || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  act();
});
addEventListener("resize", drawTicks);
