// The table of cases: filter, sort, open. Everything that comes from records is set as text, never as HTML.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const table = document.getElementById("case-table");
  if (!data || !table) return;
  const FIRST = 20, MORE = 100;
  const byId = (id) => document.getElementById(id);
  const [search, policy, against, which, more] = ["search", "policy", "against", "which", "more"].map(byId);
  const body = table.tBodies[0];
  const state = { key: "regret", down: true, shown: FIRST };

  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined && text !== null) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const number = (value, digits) => (value === null || value === undefined ? "\u2013" : value.toFixed(digits).replace("-", "\u2212"));
  const share = (value) => (value === null || value === undefined ? "\u2013" : `${(100 * value).toFixed(0)} %`);
  const signed = (value) => (value === null ? "\u2013" : `${value > 0 ? "+" : value < 0 ? "\u2212" : ""}${Math.abs(value).toFixed(3)}`);

  data.policies.forEach((one, at) => {
    policy.append(element("option", one.name, { value: at }));
    against.append(element("option", one.name, { value: at }));
  });
  const rule = data.policies.findIndex((one) => one.kind === "rule");
  policy.value = String(Math.max(data.lead, 0));
  against.value = String(Math.max(rule, 0));

  for (const one of data.cases) {
    one.text = [one.issue, one.title, one.problem, ...one.context.flat()].join(" ").toLowerCase();
    one.of = new Map((one.actions || []).map((row) => [row[0], row]));
  }

  const view = (one) => {
    const mine = Number(policy.value), other = Number(against.value);
    const chosen = data.policies.length ? one.chosen[mine] : one.rule;
    const outcome = one.of.get(chosen);
    const regret = data.policies.length ? one.regret[mine] : null;
    const theirs = data.policies.length ? one.regret[other] : null;
    return {
      one, chosen, regret,
      title: one.title || one.issue,
      action: chosen >= 0 ? data.labels[chosen] : "\u2013",
      pass: outcome ? outcome[2] : null,
      agent: outcome ? outcome[4] : null,
      differs: data.policies.length > 0 && one.chosen[mine] !== one.chosen[other],
      difference: regret === null || theirs === null ? null : regret - theirs,
    };
  };
  const fault = data.fates.indexOf("fault");
  const hasFault = (one) => (one.actions || []).some((row) => (Array.isArray(row[1]) ? row[1][fault] > 0 : row[1] === fault));
  const isWanted = (row) => {
    if (search.value && !search.value.toLowerCase().split(/\s+/).every((word) => row.one.text.includes(word))) return false;
    if (which.value === "held") return row.one.held;
    if (which.value === "regret") return row.regret > 0.0005;
    if (which.value === "differ") return row.differs;
    if (which.value === "fault") return hasFault(row.one);
    return true;
  };
  const place = (row) => (state.key === "chosen" ? row.action : row[state.key]);
  const compare = (a, b) => {
    const [x, y] = [place(a), place(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "string" ? x.localeCompare(y) : x - y;
    return state.down ? -order : order;
  };

  const fates = (cell) => {
    const counts = Array.isArray(cell) ? cell.map((n, at) => [data.fates[at], n]).filter((pair) => pair[1]) : [[data.fates[cell], 1]];
    const made = element("span");
    counts.forEach(([name, n], at) => {
      if (at) made.append(", ");
      made.append(element("span", n > 1 ? `${n} ${name}` : name, { class: name }));
    });
    return made;
  };
  const actionsOf = (one) => {
    const scroll = element("div", null, { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table: actions of the case" });
    const inner = element("table");
    const head = element("tr");
    const hasDollars = one.actions.some((row) => row[5] !== null), hasWrong = one.actions.some((row) => row[7]), hasLogs = one.actions.some((row) => row[8]);
    const columns = ["action", data.expected ? "as recorded" : "came to", "passes", "wall min", "agent min", hasDollars && "dollars", "utility", hasWrong && "what went wrong", hasLogs && "log", "chosen by"];
    for (const name of columns.filter(Boolean)) head.append(element("th", name, { scope: "col", class: /^(what|log|chosen)/.test(name) ? "text" : "" }));
    inner.append(element("thead"));
    inner.tHead.append(head);
    const rows = inner.createTBody();
    const order = [...one.actions].sort((a, b) => (b[6] ?? -9) - (a[6] ?? -9));
    for (const [at, cell, pass, wall, agent, dollars, utility, wrong, logs] of order) {
      const line = element("tr");
      line.append(element("th", data.labels[at], { scope: "row" }));
      const fate = element("td");
      fate.append(fates(cell));
      line.append(fate, element("td", share(pass)), element("td", number(wall, 1)), element("td", number(agent, 1)));
      if (hasDollars) line.append(element("td", dollars === null ? "" : `$${dollars.toFixed(2)}`));
      line.append(element("td", number(utility, 3)));
      if (hasWrong) line.append(element("td", wrong, { class: "wrong" }));
      if (hasLogs) {
        const kept = element("td", null, { class: "text" });
        for (const [nth, id] of (logs || []).entries()) {
          kept.append(nth ? " " : "", element("a", nth ? `log ${nth + 1}` : "log", { href: `${data.logs}/${encodeURIComponent(id)}.log` }));
        }
        line.append(kept);
      }
      const names = data.policies.filter((_, index) => one.chosen[index] === at).map((each) => each.name);
      line.append(element("td", names.join(", "), { class: "text chosen-by" }));
      rows.append(line);
    }
    scroll.append(inner);
    return scroll;
  };
  const detailOf = (one) => {
    const row = element("tr", null, { class: "detail" });
    const cell = element("td", null, { colspan: 6 });
    const list = element("dl");
    const known = [["case", one.id], ["issue", one.issue], ["problem", one.problem], ["decided", one.date], ["unseen", one.held ? "yes" : "no: learned from, or not judged"], ...one.context];
    for (const [name, value] of known) list.append(element("dt", name), element("dd", value));
    cell.append(list, one.actions === null ? element("p", "The details of this case were left out to keep the page small.") : actionsOf(one));
    row.append(cell);
    return row;
  };
  const rowOf = (row) => {
    const line = element("tr");
    const head = element("th", null, { scope: "row" });
    const open = element("button", row.title, { type: "button", class: "open", "aria-expanded": "false" });
    open.append(element("small", row.one.held ? row.one.issue : `${row.one.issue} \u00b7 not among the unseen`));
    open.addEventListener("click", () => {
      const isOpen = open.getAttribute("aria-expanded") === "true";
      open.setAttribute("aria-expanded", String(!isOpen));
      if (isOpen) line.nextElementSibling.remove();
      else line.after(detailOf(row.one));
    });
    head.append(open);
    line.append(head, element("td", row.action, { class: "action" }), element("td", share(row.pass), { "data-label": "passes" }), element("td", number(row.agent, 1), { "data-label": "agent min" }), element("td", number(row.regret, 3), { "data-label": "regret" }), element("td", signed(row.difference), { "data-label": "more than the other" }));
    return line;
  };
  const show = () => {
    const rows = data.cases.map(view).filter(isWanted).sort(compare);
    body.replaceChildren(...rows.slice(0, state.shown).map(rowOf));
    byId("count").textContent = `${Math.min(state.shown, rows.length)} of ${rows.length} cases shown${rows.length < data.cases.length ? `, ${data.cases.length} in all` : ""}`;
    more.hidden = rows.length <= state.shown;
  };
  const restart = () => { state.shown = FIRST; show(); };

  search.addEventListener("input", restart);
  for (const one of [policy, against, which]) one.addEventListener("change", restart);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { state.shown += MORE; show(); });
  for (const button of table.querySelectorAll("thead button")) {
    button.addEventListener("click", () => {
      const key = button.dataset.sort;
      state.down = state.key === key ? !state.down : !["title", "chosen"].includes(key);
      state.key = key;
      for (const head of table.querySelectorAll("thead th")) head.removeAttribute("aria-sort");
      button.closest("th").setAttribute("aria-sort", state.down ? "descending" : "ascending");
      show();
    });
  }
  show();
})();
