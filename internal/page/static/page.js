"use strict";

// Everything here is an addition: the page works without it.
(() => {
	const live = document.getElementById("live");
	const say = (text) => {
		live.textContent = "";
		requestAnimationFrame(() => { live.textContent = text; });
	};

	// Exact times in the reader's own time zone, written as the page's others.
	const minute = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
	const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "long" });
	for (const time of document.querySelectorAll("time")) {
		const at = new Date(time.dateTime);
		if (Number.isNaN(at.getTime())) continue;
		time.title = time.textContent;
		time.textContent = ("day" in time.dataset ? day : minute).format(at);
	}

	// Copying. Without a secure connection there is no clipboard to write to: then
	// the text is selected.
	const textOf = (source) => "value" in source ? source.value : source.textContent;
	const select = (source) => {
		if ("select" in source) {
			source.focus();
			source.select();
			return;
		}
		getSelection().selectAllChildren(source);
	};
	const copy = async (button) => {
		const source = button.dataset.copyFrom ? document.getElementById(button.dataset.copyFrom) : null;
		try {
			await navigator.clipboard.writeText(source ? textOf(source) : button.dataset.copy);
		} catch {
			if (source) select(source);
			say(source ? "Press Ctrl+C, or Command+C, to copy." : "This browser doesn’t let the page copy.");
			return;
		}
		say(button.dataset.said);
		if (button.classList.contains("icon")) {
			button.classList.add("done");
			setTimeout(() => button.classList.remove("done"), 2000);
			return;
		}
		button.dataset.label ??= button.textContent;
		button.textContent = "Copied";
		setTimeout(() => { button.textContent = button.dataset.label; }, 2000);
	};
	for (const button of document.querySelectorAll("[data-copy], [data-copy-from]")) {
		button.hidden = false;
		button.addEventListener("click", () => copy(button));
	}

	// Menus close when something else is clicked, when Tab leads out of them, and
	// with Escape.
	const menus = document.querySelectorAll("details.menu");
	const closeAround = (element) => {
		for (const menu of menus) if (menu.open && !menu.contains(element)) menu.open = false;
	};
	document.addEventListener("click", (event) => closeAround(event.target));
	document.addEventListener("keydown", (event) => {
		if (event.key === "Tab") setTimeout(() => closeAround(document.activeElement)); // once the focus has moved
		if (event.key !== "Escape") return;
		for (const menu of menus) {
			if (!menu.open) continue;
			menu.open = false;
			menu.querySelector("summary").focus();
		}
	});

	// A token that is looked for would stand in the address, and so in histories
	// and logs.
	for (const form of document.querySelectorAll("form[data-instead]")) {
		const field = form.querySelector("input:not([type=hidden])");
		form.addEventListener("submit", (event) => {
			if (!/[a-z0-9]{2,12}_[0-9A-Za-z]{49}/.test(field.value)) return;
			event.preventDefault();
			field.value = "";
			field.focus();
			let notice = document.getElementById("was-token");
			if (!notice) {
				notice = document.createElement("p");
				notice.id = "was-token";
				notice.className = "notice bad";
				notice.textContent = `That was a token. ${form.dataset.instead}; delete the token if others could have seen it.`;
				form.after(notice);
			}
			say(notice.textContent);
		});
	}

	// A form that does something does it once.
	for (const form of document.querySelectorAll("form[data-once]")) {
		form.addEventListener("submit", (event) => {
			if (form.dataset.sent) event.preventDefault();
			form.dataset.sent = "yes";
		});
	}
	addEventListener("pageshow", () => {
		for (const form of document.querySelectorAll("form[data-once]")) delete form.dataset.sent;
	});

	// The date that a free number of days leads to.
	const days = document.getElementById("days");
	if (days) {
		const date = document.getElementById("days-date");
		const other = document.querySelector("input[name=lifetime][value=other]");
		const show = () => {
			const n = /^\s*\d+\s*$/.test(days.value) ? Number(days.value) : NaN;
			date.textContent = "";
			if ("unlimited" in days.dataset && days.value.trim() === "-1") date.textContent = "never expires";
			if (n >= 1 && n <= Number(days.dataset.max)) {
				date.textContent = "until " + day.format(new Date(Date.parse(days.dataset.now) + n * 86400000));
			}
		};
		days.addEventListener("input", () => {
			other.checked = other.checked || days.value !== "";
			show();
		});
		for (const radio of document.querySelectorAll("input[name=lifetime]")) {
			radio.addEventListener("change", () => {
				if (!other.checked) days.value = "";
				show();
			});
		}
		show();
	}

	// A new token's value is here this once: not in the history, nor when the
	// browser shows the page again.
	const made = document.querySelector("[data-made]");
	const list = document.querySelector("a.brand").href;
	// Links are relative to the address, which becomes the list's.
	const forgetAddress = () => {
		for (const link of document.querySelectorAll("a[href]:not([href^='#']), form[action]")) {
			if (link.href) link.href = link.href;
			else link.action = link.action;
		}
		history.replaceState(null, "", list);
	};
	if (document.querySelector("[data-forget]")) forgetAddress();
	if (made) {
		forgetAddress();
		const value = document.getElementById("value");
		value.addEventListener("focus", () => value.select());
		addEventListener("pagehide", () => {
			for (const secret of document.querySelectorAll("[data-secret]")) {
				if ("value" in secret) {
					secret.value = "";
					secret.removeAttribute("value");
				} else {
					secret.textContent = "";
				}
			}
			document.getElementById("once").textContent = "The token’s value is no longer shown.";
		});
		addEventListener("pageshow", (event) => { if (event.persisted) location.replace(list); });
	}
})();
