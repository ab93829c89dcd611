// The table of rates: search as you type, and sort by any column.

export function searchable(table) {
  const rows = [...table.tBodies[0].rows];
  const find = document.getElementById("find");
  const none = table.parentElement.querySelector(".none");
  find.addEventListener("input", () => {
    const wanted = find.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    none.hidden = rows.some((row) => !row.hidden);
  });

  for (const heading of table.tHead.querySelectorAll("[data-sort]")) {
    const key = heading.dataset.sort;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descends = key === "code" ? heading.ariaSort === "ascending" : heading.ariaSort !== "descending";
      for (const other of table.tHead.querySelectorAll("[data-sort]")) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descends ? "descending" : "ascending");
      const sign = descends ? -1 : 1;
      // Rows without a change come last in both directions.
      const value = (row) => row.dataset[key] === undefined ? -Infinity * sign : Number(row.dataset[key]);
      const order = key === "code" ? (a, b) => a.dataset.code.localeCompare(b.dataset.code) : (a, b) => value(a) - value(b) || 0;
      table.tBodies[0].append(...rows.sort((a, b) => sign * order(a, b)));
    });
  }
}
