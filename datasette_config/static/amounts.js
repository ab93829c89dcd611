// Reads amounts in the formats that people use: 1234.5, 1,234.50, 1.234,50, 1 234,50, 1'234.50. Ambiguous amounts are
// rejected.

const LARGEST = 1e18; // the limit of the API
const EXAMPLE = "1234.50";

// The decimal mark, the thousands separator and the digits from 0 to 9 of a language.
function formatOf(language) {
  const parts = new Intl.NumberFormat(language).formatToParts(1234567.5);
  const mark = (type) => parts.find((part) => part.type === type)?.value;
  const digits = [...new Intl.NumberFormat(language, { useGrouping: false }).format(9876543210)].reverse();
  return { decimal: mark("decimal"), group: mark("group"), digits };
}

// Convert digits of the reader's languages to ASCII and drop marks of writing direction.
function withAsciiDigits(text, formats) {
  const plain = (character) => {
    const digits = formats.map((format) => format.digits.indexOf(character)).find((digit) => digit >= 0);
    return digits === undefined ? character : String(digits);
  };
  return [...text].map(plain).join("").replaceAll(/[\u200e\u200f\u061c]/g, "").replaceAll(/\s/g, " ").trim();
}

// Remove the thousands separators from a whole number; null if they are not regular.
function ungrouped(whole) {
  if (/^\d*$/.test(whole)) return whole;
  const western = /^\d{1,3}(?<mark>\D)\d{3}(\k<mark>\d{3})*$/;
  const indian = /^\d{1,2}(?<mark>\D)(\d{2}\k<mark>)*\d{3}$/;
  return western.test(whole) || indian.test(whole) ? whole.replace(/\D/g, "") : null;
}

// The index of the decimal mark; -1 if there are no decimals, null if the text is ambiguous.
function decimalPlace(text, formats) {
  const arabic = text.lastIndexOf("\u066b"); // never a thousands separator
  if (arabic >= 0) return arabic;
  const places = [...text.matchAll(/[.,]/g)].map((match) => match.index);
  if (places.length === 0) return -1;
  const last = places.at(-1);
  if (places.length > 1) return text.includes(".") && text.includes(",") ? last : -1;
  // Only a text like "1,234" is ambiguous. The reader's languages decide, if they agree.
  if (!/^[1-9]\d{0,2}[.,]\d{3}$/.test(text)) return last;
  const mark = text[last];
  if (formats.every((format) => format.decimal === mark)) return last;
  return formats.every((format) => format.group === mark) ? -1 : null;
}

// Return { amount }, or { problem } with a message for the reader. `languages` are those of navigator.languages.
export function readAmount(text, languages) {
  const formats = languages.map(formatOf);
  const written = withAsciiDigits(text, formats);
  if (written === "") return { problem: `Enter an amount, such as ${EXAMPLE}.` };
  if (/^[-\u2212]/.test(written)) return { problem: `An amount cannot be negative. Enter a number such as ${EXAMPLE}.` };
  const unreadable = { problem: `Enter digits, with a decimal point, such as ${EXAMPLE}.` };
  if (!/^[\d .,'\u2019\u066b\u066c]+$/.test(written) || !/\d/.test(written)) return unreadable;
  const place = decimalPlace(written, formats);
  if (place === null) {
    const [plain, decimal] = [written.replace(/[.,]/, ""), `${written.replace(",", ".")}0`];
    return { problem: `“${written}” can mean two amounts. Enter ${plain} or ${decimal}.` };
  }
  const whole = ungrouped(place < 0 ? written : written.slice(0, place));
  const decimals = place < 0 ? "" : written.slice(place + 1);
  if (whole === null || !/^\d*$/.test(decimals)) return unreadable;
  const amount = Number(`${whole || "0"}.${decimals || "0"}`);
  if (amount > LARGEST) return { problem: `Enter at most ${LARGEST.toLocaleString("en")}.` };
  return { amount };
}
