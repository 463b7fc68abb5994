// Numbers and texts as people read them.

const NONE = '–';
const known = (value) => typeof value === 'number' && Number.isFinite(value);
const plural = (count, word) => `${count.toLocaleString('en')} ${word}${count === 1 ? '' : 's'}`;

// As promptchain/rounding.py: a half goes away from zero, also one that a binary fraction only nearly is.
function fixed(value, digits) {
  const scale = 10 ** digits, whole = Math.floor(Math.abs(value) * scale + 0.5 + 1e-9);
  return (value < 0 && whole ? '-' : '') + (whole / scale).toFixed(digits);
}

function share(value, n) {
  if (!known(value)) return NONE;
  const digits = (n || 0) >= 200 ? 1 : 0;
  const least = 10 ** -digits;
  const text = fixed(100 * value, digits);
  if (value > 0 && Number(text) <= 0) return `<${least} %`;
  if (value < 1 && Number(text) >= 100) return `>${(100 - least).toFixed(digits)} %`;
  return `${text} %`;
}

const range = (one) => (one ? `${fixed(100 * one.low, 0)}–${fixed(100 * one.high, 0)} %` : '');
function signed(points) {
  const size = fixed(Math.abs(points), Math.abs(points) < 10 ? 1 : 0);
  return Number(size) ? `${points > 0 ? '+' : '−'}${size.replace('.0', '')}` : '±0';
}

// How likely chance alone is.
const chance = (p) => (p < 0.001 ? '< 0.001' : p.toPrecision(2));
const byChance = (p) => `p ${p < 0.001 ? '' : '= '}${chance(p)}`;

function dollars(value) {
  if (!known(value)) return '$?';
  if (value === 0) return '$0';
  if (value < 0.0001) return '<$0.0001';
  return value < 1 ? `$${value.toFixed(4)}` : `$${value.toFixed(2)}`;
}

function seconds(value) {
  if (!known(value)) return NONE;
  if (value === 0) return '0 s';
  if (value < 0.9995) return `${Math.max(1, Math.round(value * 1000))} ms`;
  if (value < 60) return `${value.toFixed(1)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

function when(stamp) {
  const time = new Date(stamp);
  if (!stamp || Number.isNaN(time.getTime())) return stamp || NONE;
  return time.toLocaleString('en-GB', { year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' });
}

// A number that JavaScript would write otherwise comes as its digits, in a text that begins with U+FDD0.
const asJson = (value, indent) => JSON.stringify(value, null, indent).replace(/"\ufdd0([^"]*)"/g, '$1');
const asText = (value) => (typeof value === 'string' ? value.replace('\ufdd0', '') : asJson(value, 2));
const oneLine = (value) => (typeof value === 'string' ? asText(value) : asJson(value)).replace(/\s+/g, ' ').trim();

const LONG = 900, LINES = 12;

// A text as it is; of a long one the beginning, and a button for the rest.
function block(value, attributes) {
  const text = asText(value === undefined ? null : value);
  const lines = text.split('\n', LINES + 1);
  const isLong = text.length > LONG || lines.length > LINES;
  const body = el('pre', { class: 'text', ...(attributes || {}) });
  if (!isLong) {
    body.append(...(text === '' ? ['(empty)'] : seen(text)));
    if (text === '') body.classList.add('muted');
    return body;
  }
  const short = lines.slice(0, LINES).join('\n').slice(0, LONG);
  const more = el('button', { type: 'button', class: 'link', 'aria-expanded': 'false' });
  const draw = (whole) => {
    body.replaceChildren(...seen(whole ? text : `${short} …`));
    more.textContent = whole ? 'Show less' : `Show all ${text.length.toLocaleString('en')} characters`;
    more.setAttribute('aria-expanded', String(whole));
  };
  more.addEventListener('click', () => draw(more.getAttribute('aria-expanded') !== 'true'));
  draw(false);
  return el('div', {}, body, more);
}

// [["equal" | "delete" | "insert", text]]
function edits(list) {
  const length = list.reduce((sum, [, text]) => sum + text.length, 0);
  const draw = () => el('pre', { class: 'text edits' }, list.map(([op, text]) =>
    op === 'equal' ? text : el(op === 'insert' ? 'ins' : 'del', {}, hidden(op === 'insert' ? '[added: ' : '[removed: '), text, hidden(']'))));
  return length > 1500 ? lazy({ class: 'extra' }, `Show all ${length.toLocaleString('en')} characters`, draw) : draw();
}

function values(given, empty) {
  const names = Object.keys(given || {});
  if (!names.length) return el('p', { class: 'muted' }, empty || 'none');
  return el('dl', { class: 'values' }, names.map((name) => [el('dt', {}, name), el('dd', {}, block(given[name]))]));
}

const MARKS = {
  done: ['✓', 'good'], passed: ['✓', 'good'], failed: ['✗', 'bad'], error: ['!', 'warn'], unchecked: ['!', 'warn'], interrupted: ['!', 'warn'],
  blocked: ['–', 'muted'], skipped: ['–', 'muted'], kept: ['=', 'muted'],
};
const SAID = { error: 'not scored', unchecked: 'not checked' };

function badge(state, text) {
  const [mark, tone] = MARKS[state] || ['·', 'muted'];
  return el('span', { class: `badge ${tone}` }, el('span', { 'aria-hidden': 'true' }, mark), ` ${text || SAID[state] || state}`);
}

function mark(state, text) {
  const [sign, tone] = MARKS[state] || ['·', 'muted'];
  return el('span', { class: `mark ${tone}`, title: text || state }, el('span', { 'aria-hidden': 'true' }, sign), hidden(text || SAID[state] || state));
}

const stateOf = (passed) => (passed === true ? 'passed' : passed === false ? 'failed' : null);

// A share with its interval, on a line from 0 to 100 %.
function bar(one, attributes) {
  if (!one || !known(one.value)) return null;
  const line = el('span', { class: 'bar', 'aria-hidden': 'true', ...(attributes || {}) },
    el('span', { class: 'value', style: { width: `${100 * one.value}%` } }));
  if (known(one.low) && known(one.high)) {
    line.append(el('span', { class: 'range', style: { left: `${100 * one.low}%`, width: `${100 * (one.high - one.low)}%` } }));
  }
  return line;
}

function facts(pairs) {
  return el('dl', { class: 'facts' }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== '').map(
    ([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));
}

function callout(tone, title, ...content) {
  return el('div', { class: `callout ${tone}` }, el('strong', {}, title), ' ', content);
}

const modelNames = (models) => [...new Set(Object.values(models || {}))].join(', ');
