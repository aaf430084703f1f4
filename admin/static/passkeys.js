"use strict";

// A form with data-bk-passkey asks the browser for a passkey, and then sends what it answers.
{
  const decode = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (sign) => sign.charCodeAt(0));
  const encode = (buffer) => {
    const signs = String.fromCharCode(...new Uint8Array(buffer));
    return btoa(signs).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  };
  const decodeIds = (list = []) => list.map((one) => ({ ...one, id: decode(one.id) }));

  const create = async (options) => {
    const user = { ...options.user, id: decode(options.user.id) };
    const publicKey = { ...options, user, challenge: decode(options.challenge), excludeCredentials: decodeIds(options.excludeCredentials) };
    const made = await navigator.credentials.create({ publicKey });
    return [made, { attestationObject: encode(made.response.attestationObject) }];
  };
  const get = async (options) => {
    const publicKey = { ...options, challenge: decode(options.challenge), allowCredentials: decodeIds(options.allowCredentials) };
    const used = await navigator.credentials.get({ publicKey });
    const { authenticatorData, signature, userHandle } = used.response;
    return [used, {
      authenticatorData: encode(authenticatorData), signature: encode(signature), userHandle: userHandle ? encode(userHandle) : null,
    }];
  };

  const explain = (error) => {
    if (error.name === "InvalidStateError") return "This device or key has a passkey for BookIt already.";
    if (error.name === "NotAllowedError") return "No passkey was used. Please try again.";
    return "Your browser could not use a passkey here.";
  };

  for (const form of document.querySelectorAll("form[data-bk-passkey]")) {
    if (!window.PublicKeyCredential) continue; // The form stays hidden.
    form.hidden = false;
    const message = form.querySelector("[role=alert]");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (form.ariaBusy === "true") return;
      form.ariaBusy = "true";
      message.hidden = true;
      try {
        const options = JSON.parse(form.dataset.bkOptions);
        const [credential, response] = await (form.dataset.bkPasskey === "create" ? create : get)(options);
        const { id, type } = credential;
        const rest = { clientDataJSON: encode(credential.response.clientDataJSON), ...response };
        form.elements.credential.value = JSON.stringify({ id, rawId: encode(credential.rawId), type, response: rest });
        form.submit();
      } catch (error) {
        message.textContent = explain(error);
        message.hidden = false;
        form.ariaBusy = "false";
      }
    });
  }
}
