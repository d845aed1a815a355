import { h } from '../dom.js';
import { signIn } from '../api.js';
import { field, form } from '../parts.js';

// signInPage exchanges an admin token for a session; enter goes on from there.
export default function signInPage(reason, enter) {
  const token = field('Admin token', h('input', {
    type: 'password', autocomplete: 'current-password', name: 'token', required: true, autofocus: true, spellcheck: false,
  }));
  const sent = form([token.node], {
    submit: 'Sign in',
    async work() {
      const text = token.input.value.trim();
      token.say(text ? '' : 'Paste an admin token.');
      if (!text) return;
      try {
        await signIn(text);
      } catch (error) {
        token.input.select();
        throw error.status === 429 ? new Error(`Too many failed attempts. Try again in ${error.retryAfter} s.`) : error;
      }
      await enter();
    },
  });
  return h('div', { class: 'signin' },
    h('div', { class: 'signin-box' },
      h('img', { src: 'icon.svg', alt: '', width: 40, height: 40 }),
      h('h1', {}, 'Sign in to aptlyd'),
      reason && h('p', { class: 'notice warn' }, h('span', {}, reason)),
      sent,
      h('p', { class: 'hint' }, 'The first admin token was printed when the cluster was made. An owner can make more: on the page Admin tokens, or with ',
        h('code', {}, 'aptlyd admin create'), '.')));
}
