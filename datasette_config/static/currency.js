// The chart of a currency's history: requests the days of the selected range from the API and draws them with uPlot.
import { direction, shownChange, shownDate, shownRate } from "./figures.js";

const history = document.querySelector(".history");
const frame = history.querySelector(".chart");
const reading = history.querySelector(".reading");
const form = history.querySelector(".ranges");
const { code, base, last } = history.dataset;
const DAY = 86_400;

let chart;
let days = []; // [date, rate], oldest first
let longest; // the longest response so far, which shorter ranges reuse
let requests = 0;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const seconds = (date) => Date.parse(`${date}T00:00:00Z`) / 1000;
const isDark = matchMedia("(prefers-color-scheme: dark)");

function callFor(start, ending) {
  const link = history.querySelector('[data-call="json"]');
  const { searchParams } = new URL(link.href);
  searchParams.set("symbols", code);
  return `/rates/${start}..${last}${ending}?${decodeURIComponent(searchParams.toString())}`;
}

async function read(start) {
  if (longest && longest.start <= start) return longest.days.filter(([date]) => date >= start);
  const response = await fetch(callFor(start, "/"));
  const document_ = await response.json();
  if (!response.ok) throw new Error(document_.message);
  const all = Object.entries(document_.rates).filter(([, rates]) => code in rates).map(([date, rates]) => [date, rates[code]]);
  longest = { start, days: all };
  return all;
}

// Missing days break the line.
function columns() {
  const x = [], y = [];
  for (const [date, rate] of days) {
    const at = seconds(date);
    if (x.length && at - x[x.length - 1] > DAY) {
      x.push(x[x.length - 1] + DAY);
      y.push(null);
    }
    x.push(at);
    y.push(rate);
  }
  return [x, y];
}

// The decimals that an axis needs to show different ticks: 2 for steps of 0.02, 3 for 0.025.
function decimalsOf(step) {
  const [digits, exponent] = step.toExponential(2).split("e");
  return Math.max(0, digits.replace(/0+$/, "").length - 2 - Number(exponent));
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
  const accent = colour("--accent");
  chart = new uPlot({
    ...size(),
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    cursor: { y: false, drag: { x: true, y: false }, points: { size: 9, fill: accent } },
    series: [{}, { stroke: accent, width: 1.75, points: { show: days.length === 1 }, fill: `${accent}14`, spanGaps: false }],
    axes: [
      { ...axis, space: 70 },
      { ...axis, size: 78, values: (_, ticks, axisAt, space, step) => {
        const decimals = decimalsOf(step);
        return ticks.map((tick) => tick.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }));
      } },
    ],
    hooks: { setCursor: [({ cursor }) => showReading(cursor.idx)] },
  }, columns(), frame);
}

function showReading(place) {
  const rate = place === null || place === undefined ? null : chart?.data[1][place];
  if (rate === null || rate === undefined) {
    reading.textContent = days.length ? `${shownDate(days[0][0])} to ${shownDate(days[days.length - 1][0])}` : "";
    return;
  }
  const date = new Date(chart.data[0][place] * 1000).toISOString().slice(0, 10);
  reading.textContent = `${shownDate(date)}: ${shownRate(rate)}`;
}

function sumUp() {
  let high = days[0], low = days[0], sum = 0;
  for (const day of days) {
    if (day[1] > high[1]) high = day;
    if (day[1] < low[1]) low = day;
    sum += day[1];
  }
  const change = ((days[days.length - 1][1] - days[0][1]) / days[0][1]) * 100;
  const put = (name, text, date) => {
    const figure = history.querySelector(`[data-figure="${name}"]`);
    figure.querySelector("strong").textContent = text;
    if (date) figure.querySelector("span").textContent = shownDate(date);
  };
  put("high", shownRate(high[1]), high[0]);
  put("low", shownRate(low[1]), low[0]);
  put("mean", shownRate(sum / days.length));
  put("change", shownChange(change));
  history.querySelector('[data-figure="change"] strong').className = direction(change);
  const span = `${shownDate(days[0][0])} to ${shownDate(days[days.length - 1][0])}`;
  frame.setAttribute("aria-label", `Chart of ${code} for 1 ${base}, ${span}. Use the arrow keys to read the rates of its days.`);
}

async function show(button) {
  const request = ++requests;
  for (const other of form.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
  const { start } = button.dataset;
  try {
    const read_ = await read(start);
    if (request !== requests) return;
    days = read_;
    frame.classList.remove("failed");
    draw();
    showReading(null);
    sumUp();
  } catch (error) {
    if (request !== requests) return;
    chart?.destroy();
    chart = undefined;
    frame.classList.add("failed");
    frame.textContent = `Cannot draw the chart: ${error.message}`;
    return;
  }
  const [json, csv] = [callFor(start, "/"), callFor(start, ".csv")];
  const link = history.querySelector('[data-call="json"]');
  link.href = json;
  link.firstElementChild.textContent = json;
  history.querySelector('[data-call="csv"]').href = csv;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  show(event.submitter);
  const address = new URL(location.href);
  address.searchParams.set("range", event.submitter.value);
  window.history.replaceState(null, "", address);
});

frame.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -Infinity, End: Infinity };
  if (!chart || !(event.key in steps)) return;
  event.preventDefault();
  const end = chart.data[0].length - 1;
  const at = chart.cursor.idx ?? end + 1;
  let place = Math.min(end, Math.max(0, at + steps[event.key]));
  if (chart.data[1][place] === null) place += Math.sign(steps[event.key]);
  const left = chart.valToPos(chart.data[0][place], "x");
  chart.setCursor({ left, top: 1 });
});

new ResizeObserver(() => chart?.setSize(size())).observe(frame);
isDark.addEventListener("change", () => chart && draw());
frame.textContent = "";
show(form.querySelector('[aria-pressed="true"]'));
