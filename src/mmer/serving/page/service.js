// What every part of the page asks, shows and writes the same way.

export const $ = (id) => document.getElementById(id);
export const percent = (share) => `${(100 * share).toFixed(1)} %`;

// What the service says, or an error that says what it says.
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

// What a screen reader says; seen too, unless `isSeen` is false because it stands elsewhere.
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
