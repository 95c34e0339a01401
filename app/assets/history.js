// One step back undoes one step: what one run of a page writes into the address is one entry of the browser's history.
//
// Streamlit adds an entry for every parameter that the server sets (opening a page needed three presses of Back to leave it),
// and none for what a person types or chooses. Here the first change of a run adds an entry and the others replace it, and a
// press that names anew what the page shows adds one as well. From a step back until the next press of a person nothing adds one:
// of two quick steps back, the run of the first would otherwise put its page, already left again, in front of the second's.
if (!window.__oneStep) {
    const NAMES = ["q", "item", "code", "value", "category", "dimension", "level", "view", "card", "box", "other"];
    const push = history.pushState.bind(history), replace = history.replaceState.bind(history);
    const runs = () => document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === "running";
    let running = runs();
    const state = window.__oneStep = {added: running, back: false, pressed: false};  // opening the first page is a step already
    const named = (query) => NAMES.map((name) => new URLSearchParams(query).get(name) ?? "").join("\n");
    const samePath = (url) => new URL(url, location.href).pathname === location.pathname;

    history.pushState = (data, unused, url) => {
        if (state.back && !samePath(url)) return;
        (samePath(url) && (state.added || state.back) ? replace : push)(data, unused, url);
        state.added = true;
    };
    history.replaceState = (data, unused, url) => {
        const step = url && !state.back && (state.pressed || !state.added) && samePath(url)
            && named(new URL(url, location.href).search) !== named(location.search);
        (step ? push : replace)(data, unused, url);
        if (step) Object.assign(state, {added: true, pressed: false});
    };
    window.addEventListener("popstate", () => Object.assign(state, {back: true, pressed: false}), true);
    for (const press of ["pointerdown", "keydown"])
        window.addEventListener(press, (event) => {
            if (!event.altKey && !event.metaKey) Object.assign(state, {back: false, pressed: true});
        }, true);
    new MutationObserver(() => {
        const now = runs();
        if (running && !now) state.added = false;
        running = now;
    }).observe(document.body, {attributes: true, subtree: true, attributeFilter: ["data-test-script-state"]});
}
