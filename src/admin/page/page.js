// Asks `/stats` each second and brings the page up to date. Without this script, the page shows the
// numbers of the moment when it was loaded. Texts from requests are only ever set as text.
'use strict';

const SECONDS = 120;
const SERIES = 5;
const SVG = 'http://www.w3.org/2000/svg';

const byId = (id) => document.getElementById(id);
const hashAtLoad = byId('hash').textContent;

// One entry per second: what was allowed and denied in it, and why.
const history = [];
let previous = null;
let paused = false;
let timer;
let failures = 0;
// The reasons with a colour of their own, in the order in which they appeared.
const coloured = [];

function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function rate(number) {
  return number >= 10 || Number.isInteger(number) ? String(Math.round(number)) : number.toFixed(1);
}

function note(stats, now) {
  const reasons = new Map(stats.reasons);
  if (previous) {
    const seconds = Math.max((now - previous.now) / 1000, 0.001);
    const since = (count, before) => Math.max(0, count - (before ?? 0)) / seconds;
    const by = new Map();
    for (const [reason, count] of reasons) by.set(reason, since(count, previous.reasons.get(reason)));
    history.push({
      allow: since(stats.checks.allow, previous.checks.allow),
      deny: since(stats.checks.deny, previous.checks.deny),
      metadata: since(stats.checks.metadata, previous.checks.metadata),
      reasons: by,
    });
    if (history.length > SECONDS) history.shift();
  }
  previous = { now, checks: stats.checks, reasons };
}

// The smallest of 1, 2, 5, 10, 20, 50, … that is not below the number.
function ceiling(number) {
  let unit = 1;
  for (;;) {
    for (const step of [1, 2, 5]) if (step * unit >= number) return step * unit;
    unit *= 10;
  }
}

// Draws a bar per second, stacked from the parts that `parts(entry)` gives as [class, value].
function draw(svg, parts, label) {
  const width = Math.max(svg.clientWidth, 100);
  const height = Math.max(svg.clientHeight, 80);
  const [left, bottom, top] = [38, 18, 8];
  const stacks = history.map(parts);
  const sums = stacks.map((stack) => stack.reduce((sum, [, value]) => sum + value, 0));
  const max = ceiling(Math.max(1, ...sums));
  const y = (value) => height - bottom - (value / max) * (height - bottom - top);
  const step = (width - left) / SECONDS;
  const shapes = [];
  for (const value of [0, max / 2, max]) {
    shapes.push(shape('line', { x1: left, x2: width, y1: y(value), y2: y(value) }));
    shapes.push(shape('text', { x: left - 6, y: y(value) + 4, 'text-anchor': 'end' }, rate(value)));
  }
  for (const seconds of [120, 60]) {
    const x = width - seconds * step;
    shapes.push(shape('text', { x, y: height - 4 }, `−${seconds} s`));
  }
  shapes.push(shape('text', { x: width, y: height - 4, 'text-anchor': 'end' }, 'now'));
  stacks.forEach((stack, index) => {
    const x = width - (stacks.length - index) * step;
    let base = 0;
    for (const [name, value] of stack) {
      if (value <= 0) continue;
      shapes.push(shape('rect', {
        class: name, x: x + 0.3, width: Math.max(step - 0.6, 0.8),
        y: y(base + value), height: Math.max(y(base) - y(base + value), 0.5),
      }));
      base += value;
    }
  });
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('aria-label', label);
  svg.replaceChildren(...shapes);
}

function drawCharts() {
  const last = history[history.length - 1];
  if (!last) return;
  for (const reason of last.reasons.keys()) {
    if (!coloured.includes(reason) && coloured.length < SERIES) coloured.push(reason);
  }
  draw(byId('chart-decisions'), (entry) => [['allow', entry.allow], ['deny', entry.deny]],
    `Decisions per second in the last two minutes; now ${rate(last.allow)} allowed and ${rate(last.deny)} denied`);
  const series = (entry) => {
    const parts = coloured.map((reason, index) => [`s${index}`, entry.reasons.get(reason) ?? 0]);
    let others = 0;
    for (const [reason, value] of entry.reasons) if (!coloured.includes(reason)) others += value;
    return [...parts, ['s5', others]];
  };
  const now = [...last.reasons].filter(([, value]) => value > 0)
    .map(([reason, value]) => `${reason} ${rate(value)}`).join(', ');
  draw(byId('chart-denials'), series, `Denials per second by reason; now ${now || 'none'}`);
  const names = [...coloured];
  if (last.reasons.size > coloured.length) names.push('others');
  const keys = byId('chart-keys');
  if (keys.childElementCount !== names.length) {
    keys.replaceChildren(...names.map((name, index) =>
      element('span', { class: 'key' }, element('i', { class: `swatch s${name === 'others' ? 5 : index}` }), name)));
  }
}

function showNumbers(stats) {
  const last = history[history.length - 1];
  for (const name of ['allow', 'deny', 'metadata']) {
    setText(byId(name), String(stats.checks[name]));
    setText(byId(`${name}-rate`), last ? `${rate(last[name])} per second` : '');
  }
  if (stats.reasons.length === 0) return;
  const rows = stats.reasons.map(([reason, count]) => element('tr', {},
    element('th', { scope: 'row' }, element('code', {}, reason)),
    element('td', { class: 'count' }, String(count)),
    element('td', { class: 'count live-column' }, last ? rate(last.reasons.get(reason) ?? 0) : '')));
  byId('reasons').tBodies[0].replaceChildren(...rows);
}

function showState(stats) {
  const ready = byId('ready');
  ready.className = stats.ready ? 'pill good' : 'pill bad';
  setText(ready, stats.ready ? 'ready' : 'not ready');
  const problems = byId('problems');
  problems.hidden = stats.problems.length === 0;
  const list = byId('problem-list');
  const shown = [...list.children].map((item) => item.textContent);
  if (JSON.stringify(shown) !== JSON.stringify(stats.problems)) {
    list.replaceChildren(...stats.problems.map((problem) => element('li', {}, problem)));
  }
  stats.providers.forEach((provider, index) => {
    const part = (name) => byId(`provider-${index}-${name}`);
    const state = part('state');
    if (!state) return;
    setText(state, provider.state);
    state.className = provider.good ? 'pill good' : 'pill bad';
    for (const name of ['fetched', 'next', 'error']) setText(part(name), provider[name]);
  });
  stats.rules.forEach(([allow, deny, hits], index) => {
    const row = byId(`rule-${index}`);
    if (!row) return;
    const texts = [String(allow), String(deny), hits === 0 ? 'never' : 'yes'];
    texts.forEach((text, cell) => setText(row.cells[cell + 1], text));
  });
}

function showDenials(denials) {
  const body = byId('denial-list').tBodies[0];
  const newest = denials.map((denial) => `${denial.time} ${denial.id}`).join('|');
  if (denials.length === 0 || body.dataset.newest === newest) return;
  // A row with the focus stays where it is.
  if (body.contains(document.activeElement)) return;
  body.dataset.newest = newest;
  const cell = (label, ...children) => element('td', { 'data-label': label }, ...children);
  body.replaceChildren(...denials.map((denial) => element('tr', {},
    cell('Time', element('time', {}, denial.time)),
    cell('Request', element('span', { class: 'break' }, denial.request),
      element('span', { class: 'break minor' }, denial.who)),
    cell('Reason and hint', element('code', {}, denial.reason), element('span', { class: 'break' }, denial.text)),
    cell('Id', element('a', { href: denial.link }, element('code', { class: 'long' }, denial.id))))));
}

async function update() {
  try {
    const answer = await fetch('/stats', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    const stats = await answer.json();
    failures = 0;
    if (stats.hash !== hashAtLoad) {
      setText(byId('live-text'), 'the configuration has changed: reload this page');
      byId('pause').hidden = true;
      return;
    }
    note(stats, performance.now());
    setText(byId('live-text'), 'live');
    showNumbers(stats);
    showState(stats);
    showDenials(stats.denials);
    drawCharts();
  } catch (error) {
    failures += 1;
    if (failures >= 3) setText(byId('live-text'), `no answer from claimgate (${error.message})`);
  }
  if (!paused) timer = setTimeout(update, 1000);
}

function steps(report) {
  const step = (kind, mark, name, detail) => element('li', { class: kind },
    element('span', { class: 'mark', 'aria-hidden': 'true' }, mark), element('b', {}, name), ' ',
    element('span', {}, detail));
  const list = element('ol', { class: 'steps' },
    ...report.passed.map(([check, detail]) => step('passed', '✓', check, detail)));
  if (report.failed) list.append(step('failed', '✗', report.failed[0], report.failed[1]));
  return list;
}

async function explain(event) {
  event.preventDefault();
  const form = event.target;
  const place = byId('explanation');
  try {
    const answer = await fetch('/explain', {
      method: 'POST',
      body: new URLSearchParams(new FormData(form)),
      headers: { accept: 'application/json' },
    });
    const report = await answer.json();
    if (!answer.ok) throw new Error(report.error);
    place.replaceChildren(element('article', { class: `explained ${report.decision}` },
      element('h3', {}, report.verdict), steps(report),
      ...report.notes.map((text) => element('p', {}, text)),
      ...report.received.flatMap(([receiver, lines]) =>
        [element('h4', {}, receiver), element('pre', {}, lines)])));
  } catch (error) {
    place.replaceChildren(element('p', {}, `Not explained: ${error.message}`));
  }
}

byId('pause').addEventListener('click', (event) => {
  paused = !paused;
  setText(event.target, paused ? 'Continue' : 'Pause');
  setText(byId('live-text'), paused ? 'paused' : 'live');
  previous = null;
  clearTimeout(timer);
  if (!paused) update();
});
byId('explain-form')?.addEventListener('submit', explain);
byId('live').hidden = false;
byId('charts').hidden = false;
document.body.classList.add('is-live');
update();
