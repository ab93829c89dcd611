// The strips of the Coverage page: show the day under the pointer, and open it on a click.
import { shownDate } from "./figures.js";

const DAY = 86_400_000;
const strips = document.querySelector(".strips");
const reading = strips.previousElementSibling;

// A strip has the 366 places of a leap year. In other years, the place of 29 February leads to 1 March.
function dayAt(strip, x) {
  const box = strip.getBoundingClientRect();
  const place = Math.min(365, Math.max(0, Math.floor(((x - box.left) / box.width) * 366)));
  const [month, day] = new Date(Date.UTC(2024, 0, 1) + place * DAY).toISOString().slice(5, 10).split("-").map(Number);
  return new Date(Date.UTC(Number(strip.dataset.year), month - 1, day)).toISOString().slice(0, 10);
}

for (const strip of document.querySelectorAll(".strips svg")) {
  const state = (event) => event.target.closest("rect")?.getAttribute("class");
  strip.addEventListener("pointermove", (event) => {
    if (state(event)) reading.textContent = `${shownDate(dayAt(strip, event.clientX))}: ${state(event) === "unfetched" ? "not fetched" : state(event)}`;
  });
  strip.addEventListener("click", (event) => {
    if (state(event)) location.assign(`${strips.dataset.day}${dayAt(strip, event.clientX)}`);
  });
}
