// The form, the answer, its explanation, and the timeline of a recording.

import { showExplanation } from "./explanation.js";
import { $, ask, element, fixed, isolated, largest, length, percent, service, showProblem, signed, tell } from "./service.js";
import { showTimeline } from "./timeline.js";

const BEGINNING = 2 ** 20; // bytes that tell how many channels a file has
const state = { recording: null, recorder: null, asked: null, answer: null, timeline: null };

// Ask which model answers, and show it; throw an error as `ask` does.
async function meetModel() {
  try {
    service.model = await ask("v1/model");
  } catch (problem) {
    $("model").textContent = problem.message;
    $("entry").hidden &&= problem.status !== 401;
    throw problem;
  }
  const { name, labels, dimensions, listens, reads, explains, transcription, limits } = service.model;
  const who = name === "model" ? "This model" : `Model ${name}`; // a folder that is only called so, as in a container
  $("model").textContent = dimensions.length ? `${who} answers ${dimensions.map(isolated).join(", ")}: numbers, and no emotion.`
    : `${who} knows ${labels.length} emotion${labels.length === 1 ? "" : "s"}: ${labels.map(isolated).join(", ")}.`;
  if (dimensions.length) {
    $("question").textContent = "How would listeners rate this voice?";
    $("meaning").textContent = "A score is the number that the people who rated this model’s training recordings would have given yours.";
    $("scope").textContent = "A model is";
  }
  $("confidence").hidden = dimensions.length > 0;
  $("explain").hidden = !explains;
  $("recording").hidden = !listens;
  $("words").hidden = !reads || transcription === "none";
  if (listens) {
    const longest = `up to ${length(limits.clip_seconds)}; up to ${length(limits.timeline_seconds)} as a timeline`;
    $("formats").textContent = `WAV, FLAC, MP3, Opus, M4A, MP4, WebM; ${longest}`;
  }
  if (transcription === "ctc" || transcription.startsWith("whisper:")) {
    $("transcript-note").textContent = "The service transcribes recordings itself and ignores these words.";
  }
}

function choose(file) {
  state.recording = file;
  $("along").hidden = !file;
  $("channels").hidden = false;
  $("chosen").hidden = !file;
  for (const part of ["answer", "explanation", "timeline"]) $(part).hidden = true; // they are those of the recording before
  state.answer = null;
  offerTimeline(false);
  showProblem(null);
  URL.revokeObjectURL($("player").src);
  $("player").removeAttribute("src");
  if (!file) {
    $("file").value = "";
    return;
  }
  $("player").src = URL.createObjectURL(file);
  $("chosen-name").textContent = `${isolated(file.name)}, ${(file.size / 1e6).toFixed(2)} MB`;
  tell(`${isolated(file.name)} is chosen.`);
  isMono(file).then((mono) => {
    if (!mono || state.recording !== file) return;
    $("channel").value = "mix";
    $("channels").hidden = true;
  });
  if (service.model && file.size > service.model.limits.upload_bytes) showProblem(new Error(`This file is too large. ${largest()}`));
}

// Whether a file has one channel only, as far as the browser can tell from its beginning.
async function isMono(file) {
  try {
    const beginning = await file.slice(0, BEGINNING).arrayBuffer();
    return (await new OfflineAudioContext(1, 1, 16000).decodeAudioData(beginning)).numberOfChannels === 1;
  } catch {
    return false;
  }
}

// Offer the timeline in place of one answer, for a recording that is longer than the model takes at once.
function offerTimeline(isLong) {
  const { clip_seconds } = service.model?.limits ?? {};
  $("long").textContent = isLong
    ? `This recording is longer than the ${length(clip_seconds)} that one answer covers. The timeline divides it into segments and answers each.` : "";
  $("long").hidden = !isLong;
  $("send").hidden = isLong;
  $("follow").classList.toggle("main", isLong);
}

// What the model needs before it can answer, as a sentence; null if nothing is missing.
function missing() {
  const { listens, reads, needs_both } = service.model;
  const hasWords = !$("words").hidden && Boolean($("transcript").value.trim());
  if (listens && !state.recording && (!reads || needs_both)) return "This model needs sound. Choose a recording, or record one.";
  if (!listens && !hasWords) return "This model needs words. Type what is said.";
  return state.recording || hasWords ? null : "Choose a recording, or type what is said.";
}

async function record() {
  if (state.recorder) {
    state.recorder.stop();
    return;
  }
  showProblem(null);
  let sound;
  try {
    // Loudness and noise are input to the model, so the browser must not even them out.
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    sound = await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    showProblem(new Error(
      window.isSecureContext
        ? `No microphone: ${error.message}. Allow it for this page, or choose a file.`
        : "Browsers offer a microphone only to pages on localhost or HTTPS. Choose a file, or open this page over HTTPS."
    ));
    return;
  }
  const [type, suffix] = MediaRecorder.isTypeSupported("audio/webm;codecs=opus")
    ? ["audio/webm;codecs=opus", "webm"] : ["audio/mp4", "m4a"];
  const recorder = new MediaRecorder(sound, { mimeType: type });
  const parts = [], begin = performance.now();
  const longest = (service.model?.limits.clip_seconds ?? 30) - 1;
  const clock = setInterval(() => {
    const seconds = (performance.now() - begin) / 1000;
    $("clock").textContent = `${seconds.toFixed(1)} s of at most ${longest} s`;
    if (seconds >= longest && recorder.state === "recording") recorder.stop();
  }, 100);
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.onstop = () => {
    clearInterval(clock);
    sound.getTracks().forEach((track) => track.stop());
    state.recorder = null;
    showRecording(false);
    choose(new File(parts, `microphone.${suffix}`, { type }));
  };
  state.recorder = recorder;
  recorder.start();
  showRecording(true);
}

function showRecording(running) {
  $("record").setAttribute("aria-pressed", String(running));
  $("record").textContent = running ? "Stop recording" : "Record";
  $("clock").textContent = "";
  for (const button of ["send", "follow"]) $(button).disabled = running;
  if (running) tell("Recording.");
}

function question() {
  const form = new FormData();
  if (state.recording) form.append("file", state.recording, state.recording.name);
  return form;
}

function withWords(form) {
  if (!$("words").hidden && $("transcript").value.trim()) form.append("transcript", $("transcript").value);
  return form;
}

// Send one request at a time, and show its result or its error.
async function consult(path, form, waiting, use) {
  showProblem(null);
  try {
    if (!service.model) await meetModel();
  } catch (problem) {
    showProblem(problem);
    tell("No answer.");
    return;
  }
  const lacking = path === "v1/explain" ? null : missing();
  if (lacking) {
    tell("No answer.");
    showProblem(new Error(lacking));
    return;
  }
  tell(waiting);
  const { recording } = state;
  const buttons = ["send", "follow", "explain", "record"].map($);
  let asker = document.activeElement; // a disabled button loses the focus
  buttons.forEach((button) => (button.disabled = true));
  try {
    const found = await ask(path, { method: "POST", body: form });
    if (found.model !== service.model.model) await meetModel(); // the service was restarted with another one
    if (state.recording === recording) use(found);
  } catch (problem) {
    tell("No answer.");
    if (problem.isTooLong && path !== "v1/timeline") {
      offerTimeline(true);
      asker = $("follow");
    } else {
      showProblem(problem);
    }
  } finally {
    buttons.forEach((button) => (button.disabled = false));
    if (document.activeElement === document.body) asker.focus({ preventScroll: true });
  }
}

async function send(event) {
  event.preventDefault();
  $("answer").hidden = $("explanation").hidden = true;
  state.answer = null;
  const form = withWords(question());
  form.append("min_confidence", String($("minimum").value / 100));
  await consult("v1/predict", form, "Waiting for the answer …", (answer) => {
    state.answer = answer;
    state.asked = form;
    show();
    $("result").scrollIntoView({ block: "nearest" });
  });
}

async function follow() {
  $("timeline").hidden = true;
  const form = question();
  form.append("channel", $("channel").value);
  await consult("v1/timeline", form, "Finding the segments of speech …", (found) => {
    state.timeline = found;
    showTimeline(found, $("minimum").value / 100);
    tell(found.segments.length ? "The timeline is below." : "No speech was found.");
    $("timeline").focus();
  });
}

async function explain() {
  await consult("v1/explain", state.asked, "Explaining the answer; this takes some seconds …", (found) => {
    showExplanation(found);
    tell("The explanation is below.");
    $("explanation").focus();
  });
}

function show() {
  const { answer } = state;
  const minimum = $("minimum").value / 100;
  const values = answer.dimensions && Object.entries(answer.dimensions);
  const abstains = !values && answer.confidence < minimum;
  const [title, reason] = values
    ? [values.map(([name, value]) => `${isolated(name)} ${fixed(value)}`).join(", "), "numbers from 0 to 1, not an emotion"]
    : abstains
    ? ["The model abstains", `Its most probable label, ${isolated(answer.label)}, has ${percent(answer.confidence)}: less than the ${percent(minimum)} you ask for.`]
    : [answer.label, `${percent(answer.confidence)}, at least the ${percent(minimum)} you ask for`];
  const small = document.createElement("small");
  small.textContent = reason;
  $("verdict").replaceChildren(title, small);
  tell(abstains ? `Answered: the model abstains. ${reason}` : `Answered: ${title}, ${reason}.`, false);
  const ranking = values ?? Object.entries(answer.probabilities).sort(([, a], [, b]) => b - a);
  $("bars").caption.textContent = values ? "Value of each dimension" : "Probability of each emotion";
  const heads = $("bars").tHead.rows[0].cells;
  [heads[0].textContent, heads[2].textContent] = values ? ["Dimension", "Value"] : ["Emotion", "Probability"];
  $("bars").tBodies[0].replaceChildren(...ranking.map(([name, value], index) => values
    ? bar(name, value, fixed(value), false, 0)
    : bar(name, value, percent(value), index === 0 && !abstains, minimum)));
  $("warnings").replaceChildren(...answer.warnings.map((text) => element("li", text)));
  $("warnings").hidden = !answer.warnings.length;
  $("facts").replaceChildren(...facts(answer).flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  $("answer").hidden = false;
}

function bar(label, share, told, isFirst, minimum) {
  const row = document.createElement("tr");
  row.className = isFirst ? "first" : "";
  const head = element("th", label);
  head.scope = "row";
  const track = document.createElement("div"), fill = document.createElement("div"), mark = document.createElement("div");
  track.className = "track";
  fill.className = "fill";
  fill.style.width = `${100 * Math.min(Math.max(share, 0), 1)}%`;
  mark.className = "mark";
  mark.style.left = `${100 * minimum}%`;
  track.append(fill, ...(minimum > 0 ? [mark] : []));
  track.setAttribute("aria-hidden", "true");
  const cell = document.createElement("td");
  cell.append(track);
  row.append(head, cell, element("td", told));
  return row;
}

function facts(answer) {
  const rows = [];
  if (answer.duration !== null) rows.push(["Sound", `${answer.duration.toFixed(2)} s`]);
  const source = { given: "as given", none: "none", ctc: "transcribed by the model" }[answer.transcript_source] ?? `transcribed by ${answer.transcript_source}`;
  if (service.model.reads) rows.push(["Words read", answer.transcript_source === "none" ? "none" : `“${answer.transcript}” (${source})`]);
  for (const [side, name] of [["speech", "Contribution of the sound"], ["text", "Contribution of the words"]]) {
    const share = answer.contributions[side];
    if (share !== null && share !== undefined) rows.push([name, `${signed(100 * share, 1)}\u00a0% of ${isolated(answer.label)}`]);
  }
  if (!answer.dimensions) rows.push(["Probabilities", service.model.calibrated ? "calibrated" : "not calibrated: use them as a ranking"]);
  rows.push(["Model", `${service.model.name} ${answer.model.slice(0, 12)}`]);
  return rows;
}

$("ask").addEventListener("submit", send);
$("record").addEventListener("click", record);
$("follow").addEventListener("click", follow);
$("explain").addEventListener("click", explain);
$("remove").addEventListener("click", () => {
  choose(null);
  tell("The recording is removed.");
  $("file").focus();
});
$("player").addEventListener("loadedmetadata", () => {
  const longest = service.model?.limits.clip_seconds;
  const { duration } = $("player"); // Infinity for what a browser has just recorded
  if (longest && Number.isFinite(duration) && duration > longest) offerTimeline(true);
});
$("file").addEventListener("change", () => choose($("file").files[0] ?? null));
$("minimum").addEventListener("input", () => {
  $("minimum-shown").textContent = `${$("minimum").value}\u00a0%`;
  $("minimum").setAttribute("aria-valuetext", `${$("minimum").value}\u00a0%`);
  if (state.answer) show();
  if (!$("timeline").hidden) showTimeline(state.timeline, $("minimum").value / 100);
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
  });
}
meetModel().catch(() => {}); // it is shown
