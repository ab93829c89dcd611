// Shows the response to a request below its form or link. Without this script, the browser opens the response.

const LINES = 200; // the page shows this many of a response

for (const section of document.querySelectorAll(".docs section")) {
  const form = section.querySelector("form.choose");
  const link = section.querySelector("a.send");
  if (form || link) prepare(section, form, link);
}

function prepare(section, form, link) {
  const status = document.createElement("p");
  status.className = "status";
  status.role = "status";
  const body = document.createElement("pre");
  body.className = "reply";
  body.append(document.createElement("code"));
  body.hidden = true;
  section.append(status, body);
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    const filled = [...new FormData(form)].filter(([, value]) => value !== "");
    const query = new URLSearchParams(filled).toString().replaceAll("%2C", ",");
    send(`${form.getAttribute("action")}${query && "?"}${query}`, status, body);
  });
  link?.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab or window
    event.preventDefault();
    send(link.getAttribute("href"), status, body);
  });
}

async function send(url, status, body) {
  status.textContent = "Waiting…";
  try {
    const response = await fetch(url);
    const text = await response.text();
    const address = document.createElement("a");
    address.href = address.textContent = url;
    status.replaceChildren(`Status ${response.status} from `, address);
    const isJson = response.headers.get("content-type")?.startsWith("application/json");
    const lines = (isJson ? JSON.stringify(JSON.parse(text), null, 2) : text.trimEnd()).split(/\r?\n/);
    body.firstChild.textContent = lines.length > LINES ? `${lines.slice(0, LINES).join("\n")}\n…` : lines.join("\n");
    body.tabIndex = 0; // to scroll by keyboard
    body.hidden = false;
  } catch (error) {
    status.textContent = `No response: ${error.message}`;
    body.hidden = true;
  }
}
