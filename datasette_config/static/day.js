// The page of one day: its table can be searched and sorted.
import { searchable } from "./table.js";

const table = document.querySelector("table.rates");
if (table) searchable(table);
