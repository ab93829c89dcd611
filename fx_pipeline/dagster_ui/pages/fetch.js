// The page that follows a run: shows its state, and reloads the page when it has ended. Without scripts, the page
// refreshes itself.
const PAUSE = 500;
const state = document.querySelector("[data-status]");

async function look() {
  const response = await fetch(state.dataset.status);
  const { text, ended } = await response.json();
  // The server then leads to the rates, or says what went wrong.
  if (ended) location.reload();
  else if (text !== state.textContent) state.textContent = text;
  return !ended;
}

async function follow() {
  // While the server restarts, there is no response.
  if (await look().catch(() => true)) setTimeout(follow, PAUSE);
}

follow();
