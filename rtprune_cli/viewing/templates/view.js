"use strict";
{
  const POLL = 2000; // milliseconds
  const get = (id) => document.getElementById(id);
  const view = get("view"), asked = get("view-asked"), hits = get("view-hits"), text = get("text");
  const loaded = { version: Number(view.dataset.version), total: Number(view.dataset.total), part: Number(view.dataset.part) };
  const number = (value) => value.toLocaleString("en");
  const counted = (value, one, many) => `${number(value)} ${value === 1 ? one : many}`;
  const pages = (value) => counted(value, "page", "pages");
  const documents = (value) => counted(value, "document", "documents");
  const address = new URLSearchParams(location.search);

  async function ask(path) {
    const answer = await fetch(path, { cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer" });
    if (!answer.ok) throw new Error(answer.statusText);
    return answer.json();
  }

  // --- Progress

  let missed = 0, timer = null, known = null;

  function rate(value) {
    if (value === null) return null;
    if (value >= 1 || value === 0) return `${value.toFixed(1)} pages/s`;
    return `${(60 * value).toFixed(60 * value < 10 ? 1 : 0)} pages/min`;
  }

  function when(iso) {
    const then = new Date(iso), today = then.toDateString() === new Date().toDateString();
    return then.toLocaleString([], { timeStyle: "short", ...(today ? {} : { dateStyle: "medium" }) });
  }

  function tell(status) {
    const { run, latest } = status;
    view.classList.toggle("running", run !== null);
    const state = run ? `A run goes on, since ${when(run.since)}.` : "No run goes on in this folder.";
    if (get("view-state").textContent !== state) get("view-state").textContent = state; // or it is read out each time
    get("view-state").title = run ? run.who : "";
    get("view-figures").textContent = [
      `${documents(status.documents)} done`,
      status.begun ? `${number(status.begun)} begun` : null,
      `${pages(status.pages)} read`,
      `${number(status.failed)} failed`,
      status.warned ? `${number(status.warned)} with warnings` : null,
      status.total ? rate(status.rate) : null,
    ].filter(Boolean).join(", ");
    get("view-latest").hidden = !latest;
    if (latest) get("view-latest").textContent = `Latest: ${latest.document}, page ${latest.page}`;
    const more = status.total - loaded.total, link = get("view-new");
    link.hidden = status.version === loaded.version;
    link.textContent = more > 0 ? `${counted(more, "new page", "new pages")}: show` : "The pages have changed: show";
    if (loaded.total === 0 && status.total > 0) location.reload(); // there is nothing that one could be looking at
  }

  async function poll() {
    clearTimeout(timer);
    try {
      const status = await ask(view.dataset.status), before = known;
      known = status;
      missed = 0;
      view.classList.remove("gone");
      tell(status);
      if (before && (before.ready !== status.ready || before.version !== status.version)) again();
    } catch {
      if (++missed >= 2) {
        view.classList.add("gone");
        view.classList.remove("running");
        get("view-state").textContent = "rtprune view has ended: what is shown is as it was then.";
        get("view-figures").textContent = "";
      }
    }
    if (!document.hidden) timer = setTimeout(poll, POLL);
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
  get("view-new").addEventListener("click", (event) => {
    event.preventDefault();
    const parts = get("view-part");
    if (parts) go(parts.options.length); else location.reload(); // new ones stand in the last part
  });

  function go(part) {
    address.set("part", part);
    location.search = address;
  }
  get("view-part")?.addEventListener("change", (event) => go(event.target.value));
  for (const link of document.querySelectorAll("#view-parts a")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      go(new URLSearchParams(link.search).get("part"));
    });
  }

  // --- Search

  let last = 0, shown = [], opened = null;

  async function search(start = 0) {
    const query = asked.value, turn = ++last;
    if (query) address.set("q", query); else address.delete("q");
    history.replaceState(history.state, "", `?${address}${location.hash}`);
    if (!query.trim()) {
      get("view-found").hidden = true;
      hits.replaceChildren();
      return;
    }
    let found;
    try {
      found = await ask(`${view.dataset.search}?${new URLSearchParams({ q: query, start })}`);
    } catch {
      return; // the line above says what is wrong
    }
    if (turn !== last) return; // more was typed meanwhile
    if (start === 0) {
      shown = [];
      hits.replaceChildren();
    }
    shown.push(...found.hits);
    hits.append(...found.hits.map(line));
    const waiting = known && known.ready < known.total ? ` ${number(known.ready)} of ${pages(known.total)} are looked through by now.` : "";
    get("view-count").textContent = (found.pages ? `${pages(found.pages)} of ${documents(found.documents)}` : "No page has that.") + waiting;
    get("view-more").hidden = shown.length >= found.pages;
    get("view-found").hidden = false;
  }

  // What a page says stands in text nodes, so that it is nothing but text.
  function line(hit) {
    const item = document.createElement("li"), link = document.createElement("a"), quoted = document.createElement("p");
    const to = new URLSearchParams(address);
    if (hit.part !== loaded.part) to.set("part", hit.part);
    const hash = `#${encodeURIComponent(hit.key)}`;
    link.href = get(hit.key) ? hash : `?${to}${hash}`;
    link.textContent = `${hit.document}, page ${hit.page}`;
    link.addEventListener("click", () => {
      opened = link;
      if (!get(hit.key) && hit.part === loaded.part) setTimeout(() => location.reload()); // it came after the list
    });
    quoted.lang = "";
    quoted.dir = "auto";
    quoted.append(...hit.snippet.map(([words, marked]) => {
      if (!marked) return words;
      const mark = document.createElement("mark");
      mark.textContent = words;
      return mark;
    }));
    item.append(link, quoted);
    return item;
  }

  // More pages came: look again, unless that would take the list from under the reader.
  function again() {
    if (asked.value.trim() && shown.length <= 50 && !hits.contains(document.activeElement) && !document.body.classList.contains("opened")) search();
  }

  let typing = null;
  asked.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(search, 120);
  });
  get("view-more").addEventListener("click", () => search(shown.length));

  // --- Keys

  const links = () => [...hits.querySelectorAll("a")];
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    event.preventDefault();
    scrollTo(0, 0);
    asked.focus();
    asked.select();
  });
  get("view-search").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && asked.value) {
      asked.value = "";
      search();
      event.stopPropagation();
    } else if ((event.key === "Enter" || event.key === "ArrowDown") && links().length && !event.isComposing) {
      event.preventDefault();
      event.stopPropagation();
      if (document.body.classList.contains("opened")) get("close").click();
      links()[0].focus();
    }
  });
  hits.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    event.stopPropagation();
    const all = links(), at = all.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1);
    (all[at] ?? (at < 0 ? asked : all.at(-1))).focus();
  });

  // --- The page that was found: its words are marked, and where it is left one is back at what was found

  const folded = (letters) => letters.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase().normalize("NFKC").replace(/\s/g, " ");

  function wanted() {
    return [...asked.value.matchAll(/"([^"]+)"|([^\s"]+)/g)].map(([, one, other]) => folded(one ?? other)).filter((word) => word.trim());
  }

  function mark() {
    if (!window.CSS?.highlights) return;
    CSS.highlights.delete("found");
    const words = wanted(), ranges = [];
    if (!words.length || !document.body.classList.contains("opened")) return;
    const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      let whole = "";
      const from = []; // of each folded letter, where its own stands
      let at = 0;
      for (const letter of node.data) {
        const piece = folded(letter);
        for (let each = 0; each < piece.length; each++) from.push(at);
        whole += piece;
        at += letter.length;
      }
      from.push(at);
      for (const word of words) {
        for (let place = whole.indexOf(word); place >= 0; place = whole.indexOf(word, place + word.length)) {
          const range = new Range();
          range.setStart(node, from[place]);
          range.setEnd(node, from[place + word.length]);
          ranges.push(range);
        }
      }
    }
    if (!ranges.length) return;
    CSS.highlights.set("found", new Highlight(...ranges));
    if (!opened) return;
    ranges.sort((one, other) => one.compareBoundaryPoints(Range.START_TO_START, other));
    text.scrollTop += ranges[0].getBoundingClientRect().top - text.getBoundingClientRect().top - 80;
    const { top } = ranges[0].getBoundingClientRect();
    if (top > innerHeight - 40) scrollBy(0, top - innerHeight / 2);
  }

  addEventListener("hashchange", mark);
  new MutationObserver(() => {
    if (document.body.classList.contains("opened")) return;
    CSS.highlights?.delete("found");
    if (!opened?.isConnected) return;
    scrollTo(0, 0);
    opened.focus();
    opened = null;
  }).observe(document.body, { attributes: true, attributeFilter: ["class"] });

  view.hidden = false;
  asked.value = address.get("q") ?? "";
  if (asked.value) search().then(() => {
    opened = links().find((link) => location.hash && link.hash === location.hash) ?? null;
    mark();
  });
  poll();
}
