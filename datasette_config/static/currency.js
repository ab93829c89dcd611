// The chart of a currency's history: requests the rates from the API, as the page's link to them does, and draws them
// with uPlot.
import { shownRate } from "./figures.js";

const history = document.querySelector(".history");
const frame = history.querySelector(".chart");
const reading = history.querySelector(".reading");
const range = reading.textContent;
// The days of the range, and the day on which all currencies are 100, if they are indexed.
const { start, end, indexed } = history.dataset;
const series = [...history.querySelectorAll("[data-series]")].map((one) => ({ code: one.dataset.series, sample: one.querySelector(".line") }));
const DAY = 86_400;
const STEPS = [1, 2, 3, 7, 14, 30, 60, 90, 180, 365, 730, 1825, 3650].map((days) => days * DAY);

let chart;
let data; // the days in seconds, and the values of each currency

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const seconds = (date) => Date.parse(`${date}T00:00:00Z`) / 1000;
const dateOf = (at) => new Date(at * 1000).toISOString().slice(0, 10);
const isDark = matchMedia("(prefers-color-scheme: dark)");

async function read() {
  const response = await fetch(history.querySelector('[data-call="json"]').href);
  const document_ = await response.json();
  if (!response.ok) throw new Error(document_.message);
  return columns(document_.rates);
}

// Missing days break the lines.
function columns(rates) {
  const days = [];
  for (const date of Object.keys(rates)) {
    const at = seconds(date);
    if (days.length && at - days.at(-1) > DAY) days.push(days.at(-1) + DAY);
    days.push(at);
  }
  return [days, ...series.map(({ code }) => {
    const unit = indexed ? rates[indexed][code] / 100 : 1;
    return days.map((at) => rates[dateOf(at)]?.[code]).map((rate) => rate === undefined ? null : rate / unit);
  })];
}

// The places of the values without a neighbour. They need a point, because there is no line to them.
function lonePlaces(values) {
  return values.flatMap((value, place) => value !== null && (values[place - 1] ?? null) === null && (values[place + 1] ?? null) === null ? [place] : []);
}

// The decimals that an axis needs to show different ticks: 2 for steps of 0.02, 3 for 0.025.
function decimalsOf(step) {
  const [digits, exponent] = step.toExponential(2).split("e");
  return Math.max(0, digits.replace(/0+$/, "").length - 2 - Number(exponent));
}

const withDecimals = (value, decimals) => value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });

const ruler = document.createElement("canvas").getContext("2d");

function widthOf(text, font) {
  ruler.font = font;
  return Math.ceil(ruler.measureText(text).width);
}

function size() {
  const style = getComputedStyle(frame);
  return {
    width: frame.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight),
    height: frame.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom),
  };
}

function draw() {
  chart?.destroy();
  const axis = {
    stroke: colour("--quiet"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
    font: `12px ${getComputedStyle(document.body).fontFamily}`,
  };
  // Each line looks like the sample next to its figures.
  const lines = series.map(({ sample }, place) => {
    const { stroke, strokeDasharray } = getComputedStyle(sample);
    const dash = strokeDasharray === "none" ? undefined : strokeDasharray.split(",").map(parseFloat);
    const points = { show: false, filter: () => lonePlaces(data[place + 1]), size: 5, fill: stroke };
    return { stroke, dash, width: 1.75, points, fill: series.length === 1 ? `${colour("--accent")}14` : undefined };
  });
  chart = new uPlot({
    ...size(),
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 9, fill: (_, place) => lines[place - 1].stroke } },
    series: [{}, ...lines],
    // Room for half of the last date, which is centred below the right edge.
    padding: [null, widthOf("2026-12-31", axis.font) / 2, null, null],
    scales: {
      // The whole range, whichever of its days are stored. A single day is in the middle.
      x: { range: () => start === end ? [seconds(start) - DAY / 2, seconds(end) + DAY / 2] : [seconds(start), seconds(end)] },
      // uPlot's own range of a constant rate begins at 0. Cross rates of constant ones differ in their last digit.
      y: { range: (_, low, high) => high - low < high * 1e-9 ? [low * 0.99, high * 1.01] : uPlot.rangeNum(low, high, 0.1, true) },
    },
    axes: [
      { ...axis, size: 36, space: 90, incrs: STEPS, values: (_, ticks, axisAt, space, step) =>
        ticks.map((tick) => dateOf(tick).slice(0, step < 28 * DAY ? 10 : step < 365 * DAY ? 7 : 4)) },
      { ...axis, size: (_, labels) => Math.max(78, ...(labels ?? []).map((label) => widthOf(label, axis.font) + 8)), values: (_, ticks, axisAt, space, step) => ticks.map((tick) => withDecimals(tick, decimalsOf(step))) },
    ],
    hooks: { setCursor: [({ cursor }) => showReading(cursor.idx)] },
  }, data, frame);
}

function showReading(place) {
  const shown = series.map(({ code }, line) => [code, data[line + 1][place ?? -1]]).filter(([, value]) => (value ?? null) !== null);
  const texts = shown.map(([code, value]) => `${code} ${indexed ? withDecimals(value, 2) : shownRate(value)}`);
  reading.textContent = texts.length ? `${dateOf(data[0][place])}: ${texts.join(", ")}` : range;
}

frame.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -Infinity, End: Infinity };
  if (!chart || !(event.key in steps)) return;
  event.preventDefault();
  const end = data[0].length - 1;
  const at = chart.cursor.idx ?? end + 1;
  let place = Math.min(end, Math.max(0, at + steps[event.key]));
  if (data.slice(1).every((values) => values[place] === null)) place += Math.sign(steps[event.key]);
  chart.setCursor({ left: chart.valToPos(data[0][place], "x"), top: 1 });
});

frame.textContent = "";
try {
  data = await read();
  draw();
} catch (error) {
  frame.classList.add("failed");
  frame.textContent = `Cannot draw the chart: ${error.message}`;
}
new ResizeObserver(() => chart?.setSize(size())).observe(frame);
isDark.addEventListener("change", () => chart && draw());
