// Elements. Whatever comes from outside is set as text, never as markup.

const report = JSON.parse(document.getElementById('data').textContent);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'on') for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (name === 'style') Object.assign(node.style, value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.flat(4).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const el = (tag, attributes, ...children) =>
  fill(document.createElement(tag), attributes, children.flat(4).map((child) => (typeof child === 'string' ? seen(child) : child)));

// What a reader does not see and a model reads, or what turns the text after it around: shown by its code. The text
// that is copied stays what it was. Tag characters (Unicode 15.0, 23.9) are an invisible copy of ASCII.
const UNSEEN = /([\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]|[\u{e0000}-\u{e007f}]+)/u;

function seen(text) {
  if (!UNSEEN.test(text)) return [text];
  return text.split(UNSEEN).map((piece, index) => (index % 2
    ? fill(document.createElement('span'), { class: 'unseen', 'data-code': codeOf(piece), title: 'not seen, but in the text' }, [piece]) : piece));
}

function codeOf(piece) {
  const codes = [...piece].map((char) => char.codePointAt(0));
  if (codes[0] < 0xe0000) return `U+${codes[0].toString(16).toUpperCase()}`;
  return `tags: ${codes.map((code) => String.fromCharCode(code - 0xe0000)).join('')}`;
}

const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);

let lastId = 0;
const newId = (word) => `${word}-${++lastId}`;

const hidden = (text) => el('span', { class: 'sr' }, text);

// A <details> whose content is made when it is first opened.
function lazy(attributes, summary, content) {
  const node = el('details', attributes, el('summary', {}, summary));
  const open = () => {
    if (node.open && !node.dataset.made) {
      node.dataset.made = 'yes';
      node.append(...[content()].flat(4).filter(Boolean));
    }
  };
  node.addEventListener('toggle', open);
  if (node.open) open();
  node.openNow = () => { node.open = true; open(); };
  return node;
}

function dataTable(caption, head, rows, attributes) {
  return el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    el('table', attributes,
      el('caption', { class: 'sr' }, caption),
      el('thead', {}, el('tr', {}, head.map(([name, kind, tip]) => el('th', { scope: 'col', class: kind, title: tip }, name)))),
      el('tbody', {}, rows.map((cells) => el('tr', {}, cells.map((cell, index) =>
        index ? el('td', { class: head[index][1] }, cell) : el('th', { scope: 'row', class: head[index][1] }, cell)))))));
}
