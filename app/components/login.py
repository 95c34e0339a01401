"""The door: nothing of any page is drawn, asked for or kept for somebody who may not look."""

from __future__ import annotations

import time

import streamlit as st

from app.login import ANONYMOUS, DEFAULT, EXPIRED, IN, Login, settings, standing
from app.text import escape

CHECK_EVERY = 60.0
"""Seconds between looks whether the login of an open page still counts."""
_KEEP = """<script>
if (location.pathname !== "/" || location.search) sessionStorage.setItem("sidelight-asked", location.href);
</script>"""
"""The provider sends everybody to the first page: the browser's tab remembers which one was asked for."""
_GO_ON = """<script>
{
    const asked = sessionStorage.getItem("sidelight-asked");
    sessionStorage.removeItem("sidelight-asked");
    if (asked && new URL(asked).origin === location.origin && asked !== location.href) location.replace(asked);
}
</script>"""


def let_in() -> bool:
    """Whether pages may be shown; else what to do about it is drawn. True where no login is set up."""
    login = _login()
    if login is None:
        return True
    where = standing(login, st.user.to_dict(), time.time())
    if where == IN:
        st.html(_GO_ON, unsafe_allow_javascript=True)
        return True
    st.html(_KEEP, unsafe_allow_javascript=True)
    if where == ANONYMOUS:
        st.title("Log in to Sidelight", anchor=False)
        st.markdown("This dashboard is shown to people on its list.")
        _buttons(login, "Log in")
    elif where == EXPIRED:
        st.title("Your login has expired", anchor=False)
        st.markdown(f"A login counts for {login.hours:g} hours. Log in again to go on where you were.")
        _buttons(login, "Log in again")
    else:
        st.title("You are not on the list", anchor=False)
        st.error(
            f"You are logged in as **{escape(_name())}**, and this address is not among those who may look. "
            "Ask whoever runs this dashboard to add it.",
            icon=":material/lock:",
        )
        st.button("Log in as somebody else", icon=":material/logout:", on_click=st.logout, key="login_as_other")
    return False


def who() -> None:
    """Who is logged in, and the way out: in the sidebar."""
    if _login() is not None:
        with st.sidebar:
            st.caption(f"Logged in as {escape(_name())}")
            st.button("Log out", icon=":material/logout:", on_click=st.logout, key="log_out")
            _watch()


def _login() -> Login | None:
    return settings(tuple(st.get_option("secrets.files")))


def _name() -> str:
    user = st.user.to_dict()
    return str(user.get("email") or user.get("name") or user.get("sub") or "somebody without a name")


def _buttons(login: Login, words: str) -> None:
    for provider in login.providers:
        st.button(
            words if provider == DEFAULT else f"{words} with {provider}", type="primary", icon=":material/login:",
            key=f"login_{provider}", on_click=st.login, args=() if provider == DEFAULT else (provider,),
        )  # fmt: skip


@st.fragment(run_every=CHECK_EVERY)
def _watch() -> None:
    """A page left open asks again once its login no longer counts."""
    login = _login()
    if login is not None and standing(login, st.user.to_dict(), time.time()) != IN:
        st.rerun()
