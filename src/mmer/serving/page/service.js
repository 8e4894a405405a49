// Helpers that every part of the page uses.

export const $ = (id) => document.getElementById(id);
export const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;
// A name written from right to left, so that the numbers beside it stay where they are.
export const isolated = (name) => (/[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/.test(name) ? `\u2068${name}\u2069` : name);
export const fixed = (number, digits = 2) => number.toFixed(digits).replace(/^-(?=[0.]+$)/, ""); // no -0.00
export const signed = (number, digits = 2) => fixed(number, digits).replace(/^(-?)/, (sign) => (sign ? "−" : "+"));
export function clock(seconds) {
  const whole = Number(seconds.toFixed(1)); // 59.97 is 1:00.0, not 0:60.0
  return `${Math.floor(whole / 60)}:${(whole % 60).toFixed(1).padStart(4, "0")}`;
}
export const counted = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
export const service = { model: null }; // what /v1/model says

// Return the response of the service, or throw an error with a message for people and its source for developers.
export async function ask(path, options = {}) {
  const token = $("token").value.trim();
  const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error(await isThere(options.body?.get("file"))
      ? "The service cannot be reached, or it closed the connection."
      : "The recording was changed or moved after it was chosen. Choose it again.");
  }
  const said = await response.json().catch(() => ({ detail: response.statusText }));
  if (response.ok) return said;
  const problem = new Error(forPeople(response, String(said.detail), Boolean(token)));
  problem.status = response.status;
  problem.source = `${options.method ?? "GET"} ${path}: ${response.status} ${said.detail}`;
  problem.isTooLong = response.status === 422 && / s long, at most .* s are allowed/.test(said.detail);
  throw problem;
}

// Whether a file can still be read: a browser says the same of one that cannot as of a service that is gone.
async function isThere(file) {
  return !file || file.slice(0, 1).arrayBuffer().then(() => true, () => false);
}

function forPeople(response, detail, hasToken) {
  const wait = response.headers.get("Retry-After");
  const again = wait ? `Try again in ${wait} ${wait === "1" ? "second" : "seconds"}.` : "Try again later.";
  switch (response.status) {
    case 401: return hasToken ? "This is not the token of this service." : "This service asks for a token.";
    case 408: return "The recording came too slowly. Try again, or choose a smaller file.";
    case 413: return `This file is too large. ${largest()}`;
    case 429: return `Too many questions came from your address. ${again}`;
    case 500: return "The service failed. Its operator finds the reason in the log.";
    case 501: return "This service cannot explain answers, because a part of it is not installed.";
    case 503: return detail.includes("stopping") ? `The service is being stopped. ${again}` : `The service is busy. ${again}`;
    case 504: return "The model took too long. Try a shorter recording, or try again later.";
    default: return detail.replace(/ \([^()]*\)(?=;)/, ""); // what a decoder said is for developers
  }
}

export function largest() {
  const { upload_bytes, upload_minutes } = service.model.limits;
  const lengths = Object.entries(upload_minutes).map(([format, minutes]) => `${length(60 * minutes)} of ${format}`);
  return `At most ${upload_bytes / 1e6} MB are allowed: ${lengths.join(", ")}.`;
}

export const length = (seconds) => (seconds < 120 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);

// Announce a status to screen readers; show it too, unless `isSeen` is false.
export function tell(text, isSeen = true) {
  $("status").textContent = text;
  $("status").classList.toggle("unseen", !isSeen);
}

export function showProblem(problem) {
  $("problem").hidden = !problem;
  $("problem-text").textContent = problem ? problem.message : "";
  $("problem-details").hidden = !problem?.source;
  $("problem-details").open = false;
  $("problem-source").textContent = problem?.source ?? "";
  if (problem?.status === 401) {
    $("entry").hidden = false;
    $("token").focus();
  }
}

export function element(name, text = "", settings = {}) {
  const made = Object.assign(document.createElement(name), settings);
  made.textContent = text;
  return made;
}
