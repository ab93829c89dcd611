// Formats rates and dates in the same way as fx_pipeline/api/pages/figures.py.

const DIGITS = 6;
const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

// 1.16500, 19,700.0, 0.000223000: six significant digits, commas between thousands.
export function shownRate(rate) {
  const [digits, exponent] = rate.toExponential(DIGITS - 1).split("e");
  if (Number(exponent) < -DIGITS) return `${digits}e${Number(exponent)}`;
  const decimals = Math.max(0, DIGITS - 1 - Number(exponent));
  return Number(rate.toPrecision(DIGITS)).toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

// 2026-03-09 as 9 March 2026.
export function shownDate(date) {
  const [year, month, day] = date.split("-").map(Number);
  return `${day} ${MONTHS[month - 1]} ${year}`;
}
