// Home: the converter counts with the rates that the page shows; its form asks the API where there is no script.
import { shownRate } from "./figures.js";
import { searchable } from "./table.js";

const table = document.querySelector("table.rates");
searchable(table);

const rates = new Map([[table.dataset.base, 1]]);
for (const row of table.tBodies[0].rows) rates.set(row.dataset.code, Number(row.dataset.rate));

const form = document.querySelector("form.convert");
const { amount, from, to } = form.elements;
const result = form.querySelector("output");
const told = form.querySelector(".rate");
const swap = form.querySelector(".swap");

function convert() {
  const sum = Number(amount.value.replace(/[\s,]/g, ""));
  const isNumber = amount.value.trim() !== "" && Number.isFinite(sum) && sum >= 0;
  result.classList.toggle("bad", !isNumber);
  amount.setAttribute("aria-invalid", String(!isNumber));
  // One division, rounded once to ten significant digits, and none from the base: as the API does it.
  const isStored = from.value === table.dataset.base;
  const rate = isStored ? rates.get(to.value) : Number((rates.get(to.value) / rates.get(from.value)).toPrecision(10));
  const product = sum * rate;
  const digits = product >= 1 ? { minimumFractionDigits: 2, maximumFractionDigits: 2 } : { maximumSignificantDigits: 6 };
  result.value = isNumber ? `${product.toLocaleString("en", digits)} ${to.value}` : "An amount is a number such as 1234.50.";
  told.textContent = `1 ${from.value} = ${shownRate(rate)} ${to.value}`;
}

swap.addEventListener("click", () => {
  [from.value, to.value] = [to.value, from.value];
  convert();
});
form.addEventListener("input", convert);
form.addEventListener("submit", (event) => event.preventDefault());
convert();
