// Read amounts as people write them: 1234.5, 1,234.50, 1.234,50, 1 234,50, 1'234.50. An amount with two possible
// readings is refused.

const LARGEST = 1e18; // the API's own limit
const EXAMPLE = "1234.50";

// The decimal mark, the mark between thousands, and the digits from 0 to 9 of one language.
function formatOf(language) {
  const parts = new Intl.NumberFormat(language).formatToParts(1234567.5);
  const mark = (type) => parts.find((part) => part.type === type)?.value;
  const digits = [...new Intl.NumberFormat(language, { useGrouping: false }).format(9876543210)].reverse();
  return { decimal: mark("decimal"), group: mark("group"), digits };
}

// Digits of the reader's languages become ASCII; marks of writing direction are dropped.
function withAsciiDigits(text, formats) {
  const plain = (character) => {
    const digits = formats.map((format) => format.digits.indexOf(character)).find((digit) => digit >= 0);
    return digits === undefined ? character : String(digits);
  };
  return [...text].map(plain).join("").replaceAll(/[\u200e\u200f\u061c]/g, "").replaceAll(/\s/g, " ").trim();
}

// The digits of a whole number that has at most one kind of mark between its thousands; null for anything else.
function ungrouped(whole) {
  if (/^\d*$/.test(whole)) return whole;
  const western = /^\d{1,3}(?<mark>\D)\d{3}(\k<mark>\d{3})*$/;
  const indian = /^\d{1,2}(?<mark>\D)(\d{2}\k<mark>)*\d{3}$/;
  return western.test(whole) || indian.test(whole) ? whole.replace(/\D/g, "") : null;
}

// Where the decimals begin: the place of their mark, -1 where there are none, null where that cannot be known.
function decimalPlace(text, formats) {
  const arabic = text.lastIndexOf("\u066b"); // has this one meaning
  if (arabic >= 0) return arabic;
  const places = [...text.matchAll(/[.,]/g)].map((match) => match.index);
  if (places.length === 0) return -1;
  const last = places.at(-1);
  if (places.length > 1) return text.includes(".") && text.includes(",") ? last : -1;
  // "1,234" is the only shape with two readings: the reader's languages decide, where they agree.
  if (!/^[1-9]\d{0,2}[.,]\d{3}$/.test(text)) return last;
  const mark = text[last];
  if (formats.every((format) => format.decimal === mark)) return last;
  return formats.every((format) => format.group === mark) ? -1 : null;
}

// `text` as an amount: { amount }, or { problem } with a sentence that says how to write it. `languages` are the
// reader's, as in navigator.languages.
export function readAmount(text, languages) {
  const formats = languages.map(formatOf);
  const written = withAsciiDigits(text, formats);
  if (written === "") return { problem: `Enter an amount, such as ${EXAMPLE}.` };
  if (/^[-\u2212]/.test(written)) return { problem: `An amount cannot be negative. Enter a number such as ${EXAMPLE}.` };
  const unreadable = { problem: `Enter digits, with a point before the decimals, such as ${EXAMPLE}.` };
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
