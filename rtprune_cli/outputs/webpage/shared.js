"use strict";
// Tables are sorted by their headings; without scripts they stay as they are, and nothing is lost.
function sortable(table, { first = 0, sorted = () => {} } = {}) {
  const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells];
  headings.slice(first).forEach((heading, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = [...body.rows].map((row) => [key(row.cells[first + at]), row]);
      keyed.sort((a, b) => compare(a[0], b[0], down ? -1 : 1));
      body.append(...keyed.map(([, row]) => row));
      sorted();
    });
  });
}

function key(cell) {
  if (!("value" in cell.dataset)) return cell.textContent.trim();
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
}

// What was not measured comes last both ways.
const words = new Intl.Collator("en", { numeric: true });
function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (typeof a === "number" ? a - b : words.compare(a, b));
}

// On paper nothing can be opened.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
