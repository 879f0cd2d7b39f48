"""Which files a backup holds: those of its own app."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import paths
from ansible_collections.slipway.vps.plugins.module_utils.slipway.tls import certbot


def test_the_account_that_the_renewal_file_names_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[D3] Two apps on one machine: each backup has its own certificate's account, from its own CA."""
    accounts = tmp_path / "accounts"
    monkeypatch.setattr(certbot, "ACCOUNTS", accounts)
    for account in ("ca.example/directory/mine", "ca.example/directory/others", "staging.example/directory/mine"):
        (accounts / account).mkdir(parents=True)
    renewal = tmp_path / "renewal"
    renewal.mkdir()
    (renewal / "blog.conf").write_text("[renewalparams]\naccount = mine\nserver = https://ca.example/directory\n")
    (renewal / "shop.conf").write_text("[renewalparams]\naccount = others\nserver = https://ca.example/directory\n")
    wanted = [str(renewal / "blog.conf"), str(tmp_path / "live/blog")]
    assert paths.sources(wanted) == sorted([str(accounts / "ca.example/directory/mine"), str(renewal / "blog.conf")])


@pytest.mark.parametrize("text", ["", "server = https://ca.example/directory\n", "account = gone\nserver = https://ca.example/directory\n"])
def test_a_renewal_file_without_an_account_is_a_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "renewal").mkdir()
    path = tmp_path / "renewal/blog.conf"
    path.write_text(text)
    assert paths.sources([str(path)]) == [str(path)]
