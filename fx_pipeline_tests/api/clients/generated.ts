// Uses the API through openapi-fetch and the types that openapi-typescript generated, and prints what it got.
// node generated.js URL

import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

declare const process: { argv: string[] };
const api = createClient<paths>({ baseUrl: process.argv[2]! });

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("no value");
  return value;
}

const day = await api.GET("/rates/{date}/", {
  params: { path: { date: "2026-03-06" }, query: { symbols: ["USD", "GBP"] } },
});
const series = await api.GET("/rates/timeseries", {
  params: { query: { start_date: "2026-03-07", end_date: "2026-03-09" } },
});
const conversion = await api.GET("/rates/convert", {
  params: { query: { from: "GBP", to: "JPY", amount: 25 } },
});
const early = await api.GET("/rates/{date}/", {
  params: { path: { date: "1999-01-04" }, query: { symbols: ["USD", "JPY"] } },
});
const unknown = await api.GET("/rates/latest", { params: { query: { base: "CHF" } } });
const rows = await api.GET("/rates/latest.csv", {
  params: { query: { symbols: ["USD"], wide: 1 } },
  parseAs: "text",
});

// @ts-expect-error: the amount is a number
void (() => api.GET("/rates/convert", { params: { query: { from: "GBP", to: "JPY", amount: "25" } } }));
// @ts-expect-error: the end is missing
void (() => api.GET("/rates/timeseries", { params: { query: { start_date: "2026-03-07" } } }));
// @ts-expect-error: a wide document does not exist
void (() => api.GET("/rates/latest", { params: { query: { wide: 1 } } }));

const error = required(unknown.error);
if (error.status === 404) {
  const type: "invalid_api_function" | "no_rates_available" = error.error.type;
  throw new Error(type);
}
const success: true = required(day.data).success;

console.log(JSON.stringify({
  rates: success && required(day.data).rates,
  days: Object.keys(required(series.data).rates),
  conversion: [required(conversion.data).query.amount, required(conversion.data).result],
  missing: required(early.data).missing?.["JPY"]?.first_date,
  error: [error.status, error.error.type, error.message],
  rows: rows.data,
}));
