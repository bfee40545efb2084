"""Passwords, plain and hashed."""

import hashlib
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from lane_relay.accept.users import Users, matches

SALT = b"0123456789abcdef"


def scrypt(password: str) -> str:
    computed = hashlib.scrypt(password.encode(), salt=SALT, n=1 << 4, r=8, p=1, dklen=32)
    parts = [b64encode(part).rstrip(b"=").decode() for part in (SALT, computed)]
    return f"$scrypt$ln=4,r=8,p=1${parts[0]}${parts[1]}"


def pbkdf2(password: str) -> str:
    computed = hashlib.pbkdf2_hmac("sha256", password.encode(), SALT, 1000)
    parts = [b64encode(part).rstrip(b"=").decode().replace("+", ".") for part in (SALT, computed)]
    return f"$pbkdf2-sha256$1000${parts[0]}${parts[1]}"


@pytest.mark.parametrize("stored", ["pässword", scrypt("pässword"), pbkdf2("pässword")])
def test_the_right_password_matches_and_no_other(stored: str) -> None:
    assert matches("pässword", stored)
    assert not matches("passwort", stored)
    assert not matches("", stored)
    assert not matches(stored, stored) or not stored.startswith("$")


def test_a_hash_of_passlib_is_understood() -> None:
    # both from passlib's documentation
    new = "$pbkdf2-sha256$29000$N2YMIWQsBWBMae09x1jrPQ$1t8iyB2A.WF/Z5JZv.lfCIhXXN33N23OSgQYThBYRfk"
    old = "$pbkdf2-sha256$8000$XAuBMIYQQogxRg$tRRlz8hYn63B9LYiCd6PRo6FMiunY9ozmMMI3srxeRE"

    assert matches("toomanysecrets", new)
    assert matches("password", old)
    assert not matches("password", new)


@pytest.mark.parametrize(
    "stored",
    [
        "$scrypt$", "$scrypt$ln=99,r=8,p=1$AAAA$AAAA", "$scrypt$ln=30,r=8,p=1$AAAA$AAAA",
        "$scrypt$ln=4,r=0,p=1$AAAA$AAAA",
        "$scrypt$ln=4,r=8,p=1$A$A", "$pbkdf2-sha256$0$AAAA$AAAA", "$pbkdf2-sha256$99999999$AAAA$AAAA",
        "$pbkdf2-sha256$10$AAAA$A", "$pbkdf2-sha256$x",
    ],
)  # fmt: skip
def test_a_hash_that_is_none_or_costs_too_much_matches_nothing(stored: str) -> None:
    assert not matches("", stored)
    assert not matches(stored, stored)


def test_users_are_files_and_their_last_line_end_is_not_part_of_the_password(tmp_path: Path) -> None:
    (tmp_path / "app").write_text("secret\n")
    users = Users(tmp_path, b"key")

    assert users.verify("app", "secret")
    assert not users.verify("app", "secret\n")
    assert not users.verify("other", "secret")
    assert not users.verify("other", "")


def test_a_folder_that_is_not_there_does_not_make_its_users_strangers(tmp_path: Path) -> None:
    """They would be told that their passwords are wrong, and give up."""
    users = Users(tmp_path / "users", b"key")
    for name in ("app", "../app", ""):
        with pytest.raises(FileNotFoundError):
            users.verify(name, "secret")


def test_an_empty_file_is_no_password(tmp_path: Path) -> None:
    (tmp_path / "app").write_text("\n")

    assert not Users(tmp_path, b"key").verify("app", "")


@pytest.mark.parametrize("name", ["../app", "/etc/hostname", "..data", "", "sub", "a/b", "a\0b"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "users"
    (folder / "sub").mkdir(parents=True)
    (folder / "..data").write_text("secret")
    (tmp_path / "app").write_text("secret")

    assert not Users(folder, b"key").verify(name, "secret")


def test_a_changed_or_deleted_user_is_known_at_once(tmp_path: Path) -> None:
    file = tmp_path / "app"
    file.write_text("old")
    users = Users(tmp_path, b"key")
    assert users.verify("app", "old")

    file.write_text("new")
    assert not users.verify("app", "old")
    assert users.verify("app", "new")
    file.unlink()
    assert not users.verify("app", "new")


def test_a_hash_is_computed_once_for_one_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app").write_text(scrypt("secret"))
    computed: list[bytes] = []
    real = hashlib.scrypt

    def counting(password: bytes, **parameters: int) -> bytes:
        computed.append(password)
        return real(password, **parameters)  # type: ignore[arg-type]  # the parameters are scrypt's own

    monkeypatch.setattr(hashlib, "scrypt", counting)
    users = Users(tmp_path, b"key")

    assert all(users.verify("app", "secret") for _ in range(5))
    assert not users.verify("app", "wrong")
    assert not users.verify("app", "wrong")
    assert computed == [b"secret", b"wrong", b"wrong"]


@pytest.mark.parametrize("name", ["nobody", "../app", "no such user", ""])
def test_a_name_that_is_nobodys_takes_the_hash_that_a_user_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Else the time that the answer takes would tell who is a user here."""
    computed: list[tuple[str, object]] = []
    kinds = {"scrypt": hashlib.scrypt, "pbkdf2_hmac": hashlib.pbkdf2_hmac}

    def counting(kind: str) -> Callable[..., bytes]:
        def compute(*given: object, **parameters: object) -> bytes:
            computed.append((kind, parameters.get("n", given[-1])))
            return kinds[kind](*given, **parameters)  # type: ignore[operator,no-any-return]  # as they were given

        return compute

    for kind in kinds:
        monkeypatch.setattr(hashlib, kind, counting(kind))
    for stored in (scrypt("secret"), pbkdf2("secret")):
        (tmp_path / "app").write_text(stored)
        (tmp_path / "sub").mkdir(exist_ok=True)
        computed.clear()
        users = Users(tmp_path, b"key")
        assert not users.verify("app", "wrong")
        assert not users.verify(name, "wrong")
        assert not users.verify(name, "secret")  # the stand-in's own password is nobody's either
        assert len(computed) == 3
        assert len(set(computed)) == 1


def test_without_users_nobody_is_one(tmp_path: Path) -> None:
    assert not Users(tmp_path, b"key").verify("app", "")
    assert not Users(tmp_path, b"key").verify("app", "secret")
