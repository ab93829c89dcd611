"""Attacks by a hostile page through a visitor's browser, in JavaScript.

Each attack knows `ui`, the address of the Dagster UI, and `mutation`, a GraphQL document that changes
something. It ends when the browser has finished, and returns what the page learned.
"""

from typing import Any

from playwright.sync_api import Page

TOOLS = """
const graphql = ui + '/graphql', report = ui + '/report_asset_materialization/rates?partition=' + key;
const address = graphql + '?query=' + encodeURIComponent(mutation);
const document_ = JSON.stringify({query: mutation});
const opening = document_.slice(0, -1) + ', "filler": "';  // a form of plain text sends NAME=VALUE
const send = (url, type, body) => {
  const headers = type ? {'content-type': type} : {};
  return fetch(url, {method: 'POST', mode: 'no-cors', headers, body}).then(r => r.type, e => e.name);
};
const load = (tag, src) => new Promise(done => {
  const element = document.createElement(tag);
  element.onload = () => done('loaded');
  element.onerror = () => done('error');
  element.src = src;
  document.body.append(element);
});
const submit = (method, action, enctype, fields) => new Promise(done => {
  const frame = document.createElement('iframe'), form = document.createElement('form');
  frame.name = 'sink' + key;
  document.body.append(frame);
  Object.assign(form, {method, action, enctype, target: frame.name});
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement('input');
    Object.assign(input, {type: 'hidden', name, value});
    form.append(input);
  }
  document.body.append(form);
  frame.onload = () => done('loaded');
  form.submit();
});
const connect = () => new Promise(done => {
  const socket = new WebSocket(graphql.replace('http', 'ws'), 'graphql-ws');
  socket.onopen = () => {
    socket.send(JSON.stringify({type: 'connection_init'}));
    socket.send(JSON.stringify({type: 'start', id: '1', payload: {query: mutation}}));
  };
  socket.onmessage = ({data}) => JSON.parse(data).type !== 'connection_ack' && (socket.close(), done(data));
  socket.onclose = socket.onerror = () => done('closed');
});
"""

ATTACKS = {
    "an image": "load('img', address)",
    "a script": "load('script', address)",
    "a frame": "load('iframe', address)",
    "a form by GET": "submit('get', graphql, '', {query: mutation})",
    "a form with the query in the address": "submit('post', address, '', {})",
    "a form of plain text": "submit('post', graphql, 'text/plain', {[opening]: '\"}'})",
    "a form with a file": "submit('post', address, 'multipart/form-data', {query: mutation})",
    "the form that fetches a day": "submit('post', ui + '/fetch/', '', {date: '2020-04-01'})",
    "plain text": "send(address, 'text/plain', document_)",
    "plain text that calls itself JSON": "send(graphql, 'text/plain;application/json', document_)",
    "plain text that calls itself GraphQL": "send(graphql, 'text/plain;application/graphql', mutation)",
    "JSON": """fetch(graphql, {
        method: 'POST', headers: {'content-type': 'application/json'}, body: document_
    }).then(r => r.text(), e => e.name)""",
    "a report without a body": "send(report)",
    "a websocket": "connect()",
    "a sandboxed frame": """new Promise(done => {
        onmessage = ({data}) => done(data);
        const frame = document.createElement('iframe');
        frame.sandbox = 'allow-scripts';
        frame.srcdoc = `<script>fetch(${JSON.stringify(report)}, {method: 'POST', mode: 'no-cors'})
            .then(r => r.type, e => e.name).then(said => parent.postMessage(said, '*'))<` + '/script>';
        document.body.append(frame);
    })""",
}


def mutation(key: str) -> str:
    """Return a mutation that leaves a row under `key` in Dagster's database."""
    return f'mutation {{ setConcurrencyLimit(concurrencyKey: "{key}", limit: 1) }}'


def attack(page: Page, name: str, ui: str, key: str) -> Any:
    """Run an attack from `page`. `key` names the row that it would leave."""
    script = f"([ui, mutation, key]) => {{ {TOOLS} return {ATTACKS[name]}; }}"
    return page.evaluate(script, [ui, mutation(key), key])
