# SPDX-License-Identifier: GPL-2.0-or-later

"""Read the manual, and compare its list of messages with messages of sources.

A message reaches a user if a literal text of its own is an argument of a
function that reports. Two kinds of calls are therefore left out: those that
have no text of their own, because they pass on one that is reported elsewhere,
and those that report to &error_abort, because QEMU aborts there: it is an
assertion.

In the manual, a message is all of its text. In place of a value there can be
anything without a comma or semicolon, such as X, a reason, or "...".
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lib.version import ROOT
from tests.c_calls import Call, Source, calls_in, texts_of

PAGES = ROOT / 'docs/system'
MESSAGES = 'Messages'
OTHER_MESSAGES = 'Messages of other parts of QEMU'

REPORTING = re.compile(r'error_setg\w*|(?:error|warn|info)_v?report\w*|'
                       r'error_(?:append_hint|prepend|printf)\w*|virtio_error|'
                       r'monitor_printf')
# A conversion of printf(), with 0x
_VALUE = re.compile(r'(?:0x)?%[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?'
                    r'(?:hh|h|ll|l|z|j|t)?[diouxXscpmfeg]')
_UNDERLINE = re.compile(r'([=\-~])\1+')


@dataclass(frozen=True)
class Section:
    """A section of a page of the manual."""

    page: str
    title: str
    lines: tuple[str, ...]

    def text(self) -> str:
        return '\n'.join(self.lines)

    def terms(self) -> list[str]:
        """Return the lines above an indented text."""
        return [line for line, after in zip(self.lines, self.lines[1:])
                if line and line[0] != ' ' and after.startswith('  ')]


def sections_of(page: str, text: str) -> list[Section]:
    """Return the sections of a page; lists and tables stay as they are."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines[1:])
              if _UNDERLINE.fullmatch(line) and len(line) == len(lines[number])
              and lines[number][0] not in '=-~']
    ends = [*starts[1:], len(lines)]
    return [Section(page, lines[start], tuple(lines[start + 2:end]))
            for start, end in zip(starts, ends)]


def manual() -> list[Section]:
    """Return the sections of all pages."""
    return [section for path in sorted(PAGES.rglob('*.rst'))
            for section in sections_of(str(path.relative_to(PAGES)),
                                       path.read_text(encoding='utf-8'))]


def entries_in(sections: Iterable[Section], title: str) -> list[str]:
    """Return the messages that the sections with this title list."""
    return [entry for section in sections if section.title == title
            for term in section.terms()
            for entry in re.findall(r'\*([^*]+)\*', term)]


# Messages

@dataclass(frozen=True)
class Message:
    """A message: where it is reported, and its format."""

    place: str
    text: str

    def pattern(self) -> re.Pattern[str]:
        """Return a pattern for how the manual can show the message."""
        percent = '\0'
        literals = _VALUE.split(self.text.replace('%%', percent))
        return re.compile('[^,;]+'.join(
            re.escape(literal.replace(percent, '%')) for literal in literals))


def _reaches_user(call: Call) -> bool:
    return call.arguments[0] != ('&', 'error_abort')


def _whole(function: str, text: str) -> str:
    """Return the message that a function makes of a text."""
    if function.startswith('error_setg_errno'):
        return f'{text}: %s'
    if function.startswith('error_prepend'):
        return f'{text}%s'
    return text.strip()


def messages_in(source: Source) -> Iterator[Message]:
    """Yield the messages of a source that can reach a user."""
    for call in calls_in(source, REPORTING):
        if not _reaches_user(call):
            continue
        for text in next(filter(None, map(texts_of, call.arguments)), ()):
            if re.search(r'\w', _VALUE.sub('', text)):
                yield Message(call.place, _whole(call.function, text))


def compare(messages: Iterable[Message], entries: Iterable[str]) -> list[str]:
    """Return what is wrong: messages without an entry, and the reverse."""
    messages, entries = list(messages), list(entries)
    missing = [f'{message.place}: the manual has no "{message.text}"'
               for message in messages
               if not any(map(message.pattern().fullmatch, entries))]
    unknown = [f'the manual has "{entry}", which no message can be'
               for entry in entries
               if not any(message.pattern().fullmatch(entry)
                          for message in messages)]
    return missing + unknown


# Options

ADDING = re.compile(r'DEFINE_PROP_\w+|object_class_property_add\w*|'
                    r'object_class_property_set_description')
_OPTIONS = 'Options'
_HELP = re.compile(r'^ +([\w-]+)=<(\w+)> +- (.*)$', re.MULTILINE)
# A default that help adds to the description
_DEFAULT = re.compile(r' +\(default: .*\)$')


def options_in_help(text: str) -> dict[str, str]:
    """Return the descriptions by names that a help text of QEMU has."""
    return {name: _DEFAULT.sub('', description)
            for name, _, description in _HELP.findall(text)}


def documented_options() -> dict[str, str]:
    """Return the descriptions that the manual quotes from help texts."""
    return {name: description for section in manual()
            if section.title == _OPTIONS
            for name, description in options_in_help(section.text()).items()}


def options_in(sources: Iterable[Source]) -> dict[str, str]:
    """Return the descriptions of the properties that sources add.

    A property without a description has an empty one.
    """
    options: dict[str, str] = {}
    for source in sources:
        for call in calls_in(source, ADDING):
            texts = [text for argument in call.arguments
                     for text in texts_of(argument)]
            if call.function.endswith('_set_description'):
                options[texts[0]] = texts[1]
            elif texts and not call.function.endswith('add_child'):
                options.setdefault(texts[0], '')
    return options
