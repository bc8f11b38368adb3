"use strict";
// Without this script the page shows the same: it adds sorting, filtering, copying, and which section is in view.
(() => {
  const order = new Intl.Collator("en", { numeric: true });

  function compare(a, b, ascending) {
    // what has no value is last in either direction
    if (a === null || b === null) return (a === null) - (b === null);
    const numbers = [Number(a), Number(b)];
    const both = numbers.every((n) => !Number.isNaN(n));
    const found = both ? numbers[0] - numbers[1] : order.compare(a, b);
    return ascending ? found : -found;
  }

  function sort(table, index, ascending) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row) => [row.cells[index].getAttribute("data-value"), row]);
    rows.sort((a, b) => compare(a[0], b[0], ascending));
    body.append(...rows.map(([, row]) => row));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        // numbers begin with the largest, names with the first
        const before = head.getAttribute("aria-sort");
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const now = before === first ? other : first;
        for (const each of heads) each.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", now);
        sort(table, index, now === "ascending");
      });
    });
  }

  for (const input of document.querySelectorAll("input[data-filters]")) {
    const table = document.getElementById(input.dataset.filters);
    const status = document.querySelector(`[data-counts="${input.dataset.filters}"]`);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        const text = `${row.cells[0].textContent} ${row.cells[1].textContent}`.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      status.textContent = words.length ? `${shown} of ${table.tBodies[0].rows.length}` : "";
    });
  }

  async function copy(element) {
    try {
      await navigator.clipboard.writeText(element.textContent);
    } catch {
      // a browser that keeps the clipboard from files: select the text, and ask it to copy that
      getSelection().selectAllChildren(element);
      if (!document.execCommand("copy")) throw new Error("not copied");
    }
  }

  for (const button of document.querySelectorAll("button[data-copies]")) {
    const status = button.parentElement.querySelector(".copied");
    button.addEventListener("click", () => {
      copy(document.getElementById(button.dataset.copies)).then(
        () => { status.textContent = "Copied"; },
        () => { status.textContent = "Press Ctrl+C to copy"; },
      );
    });
  }

  const links = new Map(Array.from(document.querySelectorAll("nav a"), (link) => [link.hash.slice(1), link]));

  function mark(id) {
    for (const [name, link] of links) {
      if (name === id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    const link = links.get(id);
    const list = link.closest("ul");
    // not scrollIntoView, which would move the page too
    list.scrollLeft = link.offsetLeft - (list.clientWidth - link.offsetWidth) / 2;
  }

  const sections = Array.from(document.querySelectorAll("main > section"));
  let waiting = false;
  function follow() {
    waiting = false;
    const line = document.querySelector("nav").getBoundingClientRect().bottom + 40;
    const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 2;
    const above = sections.filter((section) => section.getBoundingClientRect().top <= line);
    const current = atEnd ? sections[sections.length - 1] : above[above.length - 1] || sections[0];
    if (current) mark(current.id);
  }
  addEventListener("scroll", () => {
    if (!waiting) requestAnimationFrame(follow);
    waiting = true;
  }, { passive: true });
  follow();

  // what is asked for is opened
  for (const [name, link] of links) {
    link.addEventListener("click", () => { document.querySelector(`#${name} > details`).open = true; });
  }
})();
