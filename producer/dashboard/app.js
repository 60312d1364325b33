'use strict';

async function signIn(event) {
  event.preventDefault();
  const secret = document.getElementById('secret').value;
  const answer = await fetch('/dashboard/session', {
    method: 'POST',
    headers: {'Content-Type': 'application/json'},
    body: JSON.stringify({secret}),
  });
  const said = await answer.json();
  document.getElementById('out').textContent = said.detail || 'Signed in: ' + said.role;
}

document.getElementById('sign-in-form').addEventListener('submit', signIn);
