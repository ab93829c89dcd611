// The converter of the home page. It uses the rates on the page. Without scripts, its form sends a request to the API.
import { readAmount } from "./amounts.js";
import { shownRate } from "./figures.js";
import { searchable } from "./table.js";

const table = document.querySelector("table.rates");
searchable(table);

const rates = new Map([[table.dataset.base, 1]]);
for (const row of table.tBodies[0].rows) rates.set(row.dataset.code, Number(row.dataset.rate));

const form = document.querySelector("form.convert");
const { amount, from, to } = form.elements;
const result = form.querySelector("output");
const details = form.querySelector(".rate");
const swap = form.querySelector(".swap");

function convert() {
  const { amount: sum, problem } = readAmount(amount.value, navigator.languages);
  result.classList.toggle("bad", problem !== undefined);
  amount.setAttribute("aria-invalid", String(problem !== undefined));
  // As in the API: one division, rounded once to ten significant digits, and none from the base.
  const isStored = from.value === table.dataset.base;
  const rate = isStored ? rates.get(to.value) : Number((rates.get(to.value) / rates.get(from.value)).toPrecision(10));
  const product = sum * rate;
  const digits = product >= 1 ? { minimumFractionDigits: 2, maximumFractionDigits: 2 } : { maximumSignificantDigits: 6 };
  result.value = problem ?? `${product.toLocaleString("en", digits)} ${to.value}`;
  // Repeat the amount, so that the reader sees how it was understood.
  const read = problem ? "" : `${sum.toLocaleString("en", { maximumFractionDigits: 20 })} ${from.value} at `;
  details.textContent = `${read}1 ${from.value} = ${shownRate(rate)} ${to.value}`;
}

swap.addEventListener("click", () => {
  [from.value, to.value] = [to.value, from.value];
  convert();
});
form.noValidate = true; // the converter reads more formats than the API, and shows its own messages
form.addEventListener("input", convert);
form.addEventListener("submit", (event) => event.preventDefault());
convert();
