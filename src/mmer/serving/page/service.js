// Helpers that every part of the page uses.

export const $ = (id) => document.getElementById(id);
export const percent = (share) => `${(100 * share).toFixed(1)} %`;

// Return the response of the service, or throw an error with its message.
export async function ask(path, options = {}) {
  const token = $("token").value.trim();
  const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The service cannot be reached, or it closed the connection.");
  }
  const said = await response.json().catch(() => ({ detail: response.statusText }));
  if (response.ok) return said;
  const problem = new Error(`${said.detail} (${response.status})`);
  problem.status = response.status;
  throw problem;
}

// Announce a status to screen readers; show it too, unless `isSeen` is false.
export function tell(text, isSeen = true) {
  $("status").textContent = text;
  $("status").classList.toggle("unseen", !isSeen);
}

export function showProblem(problem) {
  $("problem").hidden = !problem;
  $("problem").textContent = problem ? problem.message : "";
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
