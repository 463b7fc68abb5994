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

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

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
