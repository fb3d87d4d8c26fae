const $ = (id) => document.getElementById(id);
const table = $("pages"), body = table.tBodies[0];
const rows = new Map([...body.rows].map((row) => [row.id, row]));
const names = JSON.parse($("names").textContent);
let shown = [...rows.values()]; // in the order and choice of the list
let open = null; // the row whose page is open
let view = null; // its data
let scrolled = 0, from = null; // where the reader was before it; the plot that led to it

// --- The list

const found = new Map(shown.map((row) => [row, `${row.cells[1].textContent} ${row.cells[2].textContent}`.toLowerCase()]));

function choose() {
  const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const state = $("state").value;
  shown = [];
  for (const row of body.rows) {
    const states = row.dataset.state.split(" ");
    const fits = !state || (state === "ok" ? !states.includes("failed") : states.includes(state));
    row.hidden = !(fits && words.every((word) => found.get(row).includes(word)));
    if (!row.hidden) shown.push(row);
  }
  const all = rows.size.toLocaleString("en");
  $("count").textContent = shown.length === rows.size ? `${all} pages` : `${shown.length.toLocaleString("en")} of ${all} pages`;
  $("none").hidden = shown.length > 0;
}

sortable(table, { first: 1, sorted: choose });
if ($("documents")) sortable($("documents"));

const link = (row) => row.cells[1].querySelector("a");

body.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.target.closest("th a")) return;
  event.preventDefault();
  const row = event.target.closest("tr");
  if (row) location.hash = link(row).getAttribute("href");
});
$("find").addEventListener("input", choose);
$("state").addEventListener("change", choose);

// --- Plots of documents: the page under the pointer, or that of the slider

const plots = $("plots");

function point(plot, page) {
  const slider = plot.querySelector("input"), cursor = plot.querySelector(".cursor"), leading = plot.querySelector(".walk a");
  const row = rows.get(`${plot.dataset.folder}/${page}`);
  slider.value = page;
  cursor.setAttribute("x", page - slider.min);
  cursor.removeAttribute("hidden");
  leading.hidden = !row;
  leading.textContent = `Open page ${page}`;
  if (row) leading.href = link(row).getAttribute("href");
  plot.querySelector("output").textContent = told(row, page);
  slider.setAttribute("aria-valuetext", `${page}: ${told(row, page)}`);
  return leading;
}

function told(row, page) {
  if (!row) return `page ${page} is not in this report`;
  const cell = (name) => row.cells[names.columns.indexOf(name) + 1], text = (name) => cell(name).textContent;
  const asked = Number(cell("visual tokens").dataset.value);
  return asked ? `${text("retention")} kept (${text("visual tokens")}), ratio ${text("ratio")}` : text("finish");
}

function under(event) {
  const place = event.target.closest(".axes");
  if (!place) return null;
  const plot = place.closest(".plot"), { min, max } = plot.querySelector("input"), { left, width } = place.getBoundingClientRect();
  const page = Number(min) + Math.floor((event.clientX - left) / width * (max - min + 1));
  return point(plot, Math.min(max, Math.max(min, page)));
}

if (plots) {
  plots.classList.add("live");
  plots.addEventListener("pointermove", under);
  plots.addEventListener("click", (event) => {
    const leading = under(event);
    if (leading && !leading.hidden) leading.click();
  });
  plots.addEventListener("input", (event) => point(event.target.closest(".plot"), Number(event.target.value)));
  plots.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches(".walk input")) point(event.target.closest(".plot"), Number(event.target.value)).click();
  });
}

// --- A page

function follow() {
  let name = location.hash.slice(1);
  try { name = decodeURIComponent(name); } catch { /* no name of ours */ }
  const row = rows.get(name);
  if (row) show(row); else hide();
}

function show(row) {
  if (!open) scrolled = scrollY;
  if (open) open.classList.remove("chosen");
  open = row;
  row.classList.add("chosen");
  view = JSON.parse(row.querySelector("script").textContent);
  const record = Object.fromEntries(names.fields.map((name, at) => [name, view.values[at]]));
  $("detail-title").textContent = record.page === null ? record.document : `${record.document}, page ${record.page}`;
  let message = "";
  if (record.status === "failed") message = `Failed (${record.error.code}): ${record.error.message}`;
  else if (record.finish_reason === "blank") message = "No ink: the model was not asked.";
  else if (record.finish_reason === "text_layer") message = "Written from the PDF's own text: the model was not asked.";
  else if (!view.tokens) message = "Read without --html; --force reads again.";
  const warnings = record.warnings.map((warning) => `Warning (${warning.code}): ${warning.message}`);
  message = [message, ...warnings].filter(Boolean).join(" ");
  $("message").textContent = message;
  $("message").hidden = !message;
  $("told").textContent = summed(record);
  $("seen").hidden = !view.tokens;
  $("text").innerHTML = view.html ?? ""; // cleaned where the report was made; and no script of it could run here
  if (!view.html) $("text").textContent = record.status === "failed" ? "No text." : view.html === null ? "The text is not in the folder any more." : "The page has no text.";
  $("copy").hidden = !view.text;
  $("copied").textContent = "";
  $("file").hidden = !view.file;
  if (view.file) [$("file").textContent, $("file").href] = view.file;
  list($("times"), names.times.filter((name) => record[name] !== null).map((name) => [name.slice(0, -3), milliseconds(record[name])]));
  list($("fields"), names.fields.map((name) => [name, plain(record[name])]));
  if (view.tokens) picture(record);
  $("detail").hidden = false;
  document.body.classList.add("opened");
  const at = shown.indexOf(row);
  $("previous").disabled = at <= 0;
  $("next").disabled = at < 0 || at === shown.length - 1;
  scrollTo(0, 0);
  $("detail-title").focus({ preventScroll: true });
}

// What the list has of the page, and when it was read.
function summed(record) {
  const parts = [];
  const number = (value) => value.toLocaleString("en");
  if (record.visual_tokens_before) {
    parts.push(`${number(record.visual_tokens_before)} → ${number(record.visual_tokens_after)} visual tokens`);
    if (record.kept !== null && record.merged !== null) parts.push(`${number(record.kept)} kept, ${number(record.merged)} merged`);
    for (const [name, field] of names.speedups) if (record[field] !== null) parts.push(`${name} ${record[field].toFixed(2)} ×`);
  }
  if (view.read) parts.push(`read ${view.read}`);
  return parts.join(" · ");
}

// Below ten a digit more: a step may well take half a millisecond.
const milliseconds = (value) => `${value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 })} ms`;

function hide() {
  if (!open) return;
  const row = open;
  open = view = null;
  $("detail").hidden = true;
  $("picture").removeAttribute("src");
  document.body.classList.remove("opened");
  row.classList.remove("chosen");
  scrollTo(0, scrolled);
  const back = from?.querySelector("input") ?? link(row);
  back.focus({ preventScroll: true });
  back.scrollIntoView({ block: "nearest" });
}

function close() {
  history.pushState(null, "", location.href.split("#")[0]);
  hide();
}

function step(by) {
  const row = shown[shown.indexOf(open) + by];
  if (row && shown.includes(open)) location.hash = link(row).getAttribute("href");
}

function plain(value) {
  if (value === null) return "–";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function list(place, pairs) {
  place.replaceChildren(...pairs.flatMap(([name, value]) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    return [dt, dd];
  }));
}

// --- The text, copied

async function copy() {
  let done = false;
  try {
    await navigator.clipboard.writeText(view.text);
    done = true;
  } catch { // a page of plain http has no clipboard, and a browser may refuse it
    done = copied(view.text);
  }
  if (!done) getSelection().selectAllChildren($("text"));
  $("copied").textContent = done ? "Copied" : "Selected: copy it with your keyboard";
}

function copied(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  try { return document.execCommand("copy"); } catch { return false; } finally {
    area.remove();
    $("copy").focus({ preventScroll: true });
  }
}

// --- Visual tokens over the page

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

function picture(record) {
  const tokens = view.tokens, [width, height] = tokens.size;
  view.stays = bytes(tokens.stays);
  view.norms = bytes(tokens.norms);
  const image = $("picture");
  [image.width, image.height] = tokens.picture;
  image.src = view.picture;
  image.alt = `Page ${record.page} of ${record.document}`;
  $("overlay").setAttribute("viewBox", `0 0 ${width} ${height}`);
  $("grid").replaceChildren(...tokens.grids.map((grid, at) => {
    const cells = `${grid.x.length - 1} × ${grid.y.length - 1}`;
    return new Option(`${grid.kind === "tile" ? "tiles" : "global view"}, ${cells}`, at);
  }));
  $("grids").hidden = tokens.grids.length < 2;
  const placed = tokens.grids.length > 0, [low, high] = tokens.norm_range;
  $("unplaced").hidden = placed;
  for (const id of ["kept", "merged", "dropped", "norms"]) $(id).disabled = !placed;
  $("hover").textContent = placed ? "Point at a cell to see its norm." : `Norms from ${low.toFixed(2)} to ${high.toFixed(2)}.`;
  regions(tokens, width);
  draw();
}

function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

const stays = (index) => (view.stays[index >> 3] >> (7 - (index & 7))) & 1;

function draw() {
  if (view.tokens.grids.length) cells(); else counted();
  layers();
}

// Tokens without a place on the page: the last one is the separator, and of no kind that is counted.
function counted() {
  const count = { kept: 0, merged: 0, dropped: 0 };
  for (let index = 0; index + 1 < view.norms.length; index++) count[stays(index) ? "kept" : "merged"]++;
  $("cells").replaceChildren();
  for (const kind of Object.keys(count)) tell(kind, count[kind]);
  $("overlay").querySelector("title").textContent = `${count.kept} tokens kept, ${count.merged} merged`;
}

function cells() {
  const { grids, size, norm_range: [low, high] } = view.tokens;
  const chosen = Number($("grid").value);
  let offset = 0;
  for (let at = 0; at < chosen; at++) offset += grids[at].x.length * (grids[at].y.length - 1);
  const { x, y } = grids[chosen], columns = x.length - 1, count = { kept: 0, merged: 0, dropped: 0 };
  const made = [];
  for (let row = 0; row + 1 < y.length; row++) {
    const tall = y[row + 1] - y[row];
    for (let column = 0; column <= columns; column++) {
      const index = offset + row * (columns + 1) + column;
      if (column === columns) {
        if (stays(index)) continue;
        count.dropped++;
        const wide = Math.max(4, size[0] / 120);
        if (tall > 0) made.push(element("rect", { class: "dropped", x: size[0] - wide, y: y[row], width: wide, height: tall }));
        continue;
      }
      const kind = stays(index) ? "kept" : "merged", wide = x[column + 1] - x[column], share = view.norms[index] / 255;
      count[kind]++;
      if (!(wide > 0 && tall > 0)) continue; // padding beside the page
      const cell = element("rect", { class: kind, x: x[column], y: y[row], width: wide, height: tall });
      cell.dataset.told = `${kind}, norm ${(low + share * (high - low)).toFixed(2)}, row ${row + 1}, column ${column + 1}`;
      if ($("norms").checked) cell.style.fillOpacity = (0.05 + 0.75 * share).toFixed(3);
      made.push(cell);
    }
  }
  $("cells").replaceChildren(...made);
  for (const kind of Object.keys(count)) tell(kind, count[kind]);
  $("overlay").querySelector("title").textContent = `${count.kept} cells kept, ${count.merged} merged, ${count.dropped} newlines dropped`;
}

function regions(tokens, width) {
  const size = width / 55;
  $("regions").replaceChildren(...tokens.boxes.flatMap(([label, left, top, right, bottom]) => [
    element("rect", { class: "region", x: left, y: top, width: right - left, height: bottom - top }),
    element("text", { x: left + size / 4, y: Math.max(size, top - size / 4), "font-size": size }, label),
  ]));
  tell("boxes", tokens.boxes.length);
}

const tell = (layer, count) => { $(layer).parentElement.querySelector("output").textContent = count; };

function layers() {
  for (const kind of ["kept", "merged", "dropped"]) {
    const seen = $(kind).checked;
    for (const cell of $("cells").getElementsByClassName(kind)) cell.style.display = seen ? "" : "none";
  }
  $("regions").style.display = $("boxes").checked ? "" : "none";
}

for (const id of ["kept", "merged", "dropped", "boxes"]) $(id).addEventListener("change", layers);
for (const id of ["norms", "grid"]) $(id).addEventListener("change", draw);
$("cells").addEventListener("pointerover", (event) => {
  if (event.target.dataset.told) $("hover").textContent = event.target.dataset.told;
});

// --- Keys

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const field = event.target.closest("input, select");
  if (event.key === "Escape") {
    if (open) close();
    return;
  }
  if (open) {
    if (field || (event.key !== "ArrowLeft" && event.key !== "ArrowRight")) return;
    step(event.key === "ArrowLeft" ? -1 : 1);
  } else {
    if ((field && field.id !== "find") || !shown.length || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
    const at = shown.indexOf(event.target.closest("tr"));
    const next = at < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, at + (event.key === "ArrowUp" ? -1 : 1)));
    link(shown[next]).focus();
  }
  event.preventDefault();
});
$("close").addEventListener("click", close);
$("copy").addEventListener("click", copy);
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));

addEventListener("click", (event) => { if (!open) from = event.target.closest(".plot"); });
addEventListener("hashchange", follow);
table.classList.add("live");
$("tools").hidden = false;
choose();
follow();
