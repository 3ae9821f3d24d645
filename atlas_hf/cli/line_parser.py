"""A parser of `argparse` that says what is wrong in one line, and which option a misspelt one was meant to be."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn


def meant(names: Iterable[str], known: Iterable[str]) -> str:
    """`Did you mean ...?` for names that are like known ones, after a space; or nothing."""
    known = list(known)
    close = [one for name in names for one in get_close_matches(name, known, n=1)]
    return f" Did you mean {', '.join(dict.fromkeys(close))}?" if close else ""


class OneLine(ArgumentParser):
    """Errors are one line. An option that is not known is told first: it may be a needed one, misspelt."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Namespace, list[str]]:  # type: ignore[override]  # of one kind
        """As `argparse`; words that belong to no option are given back, options that are not known never."""
        known = [option for action in self._actions for option in action.option_strings]
        for word in args or ():
            name = word.partition("=")[0]
            option = word.startswith("--") and len(word) > 2 and not any(letter.isspace() for letter in name)
            if option and not any(one.startswith(name) for one in known):
                hint = meant([name], known) or f" {self.prog} --help lists them."
                self.error(f"there is no option {name}.{hint}")
        return super().parse_known_args(args, namespace)

    def given(self, args: Sequence[str]) -> set[str]:
        """The names of the options that a line names, be it with the value that they have anyway."""
        nothing = object()
        blank = {name: nothing for name in (action.dest for action in self._actions) if name != "help"}
        read, _ = self.parse_known_args(args, Namespace(**blank))
        return {name for name, value in vars(read).items() if value is not nothing}

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(2, f"{self.prog}: {message}\n")

    def put_last(self, title: str) -> None:
        """Show the options of no group below the groups, under this title."""
        self._optionals.title = title
        self._action_groups.remove(self._optionals)
        self._action_groups.append(self._optionals)
