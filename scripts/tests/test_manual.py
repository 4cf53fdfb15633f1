# SPDX-License-Identifier: GPL-2.0-or-later

"""Compare the manual with the sources: messages, options and queries."""

import re
import unittest
from collections.abc import Iterable

from lib.options import bases
from lib.version import ROOT
from tests.c_calls import (ParseError, Source, hunks_of, own_sources,
                           patch_sources)
from tests.manual import (MESSAGES, OTHER_MESSAGES, Message, compare,
                          documented_options, entries_in, manual, messages_in,
                          options_in, sections_of)

# The page that lists the queries and their results
PAGE = 'shared-dma.rst'

PATCHES = ROOT / 'patches'
SCHEMA = ROOT / 'qapi/shared-dma.json'

PATCH = '''\
Subject: error_report("not a message");

diff --git a/hw/a.c b/hw/a.c
--- a/hw/a.c
+++ b/hw/a.c
@@ -10,5 +10,6 @@ static void a(void)
     error_report("old");
     error_setg(errp, "half"
-               " gone");
+               " new %s", x);
+    info_report("fresh");
     b();
diff --git a/docs/a.rst b/docs/a.rst
--- a/docs/a.rst
+++ b/docs/a.rst
@@ -1 +1,2 @@
 a
+error_report("documentation");
'''


def texts(source: str) -> list[str]:
    return [message.text for message in messages_in(Source('a.c', source))]


def our_messages() -> list[Message]:
    sources = own_sources()
    for folder in sorted(PATCHES.glob('qemu-*')):
        sources += patch_sources(folder)
    return [message for source in sources for message in messages_in(source)]


class ExtractionTest(unittest.TestCase):
    """Messages of sources and patches."""

    def test_place(self) -> None:
        self.assertEqual(
            list(messages_in(Source('a.c', '\n\nerror_report("x");', 5))),
            [Message('a.c:7', 'x')])

    def test_literals_are_joined(self) -> None:
        self.assertEqual(texts('error_setg(errp, "at 0x%" PRIx64 " of"\n'
                               '  " %" HWADDR_PRIx "; use " SOME_OPTION "=on",'
                               ' f(a, b));'),
                         ['at 0x%d of %d; use %s=on'])

    def test_alternatives(self) -> None:
        self.assertEqual(texts('error_report(a ? "one" " two" : "three");'),
                         ['one two', 'three'])

    def test_punctuation_in_text(self) -> None:
        self.assertEqual(texts(r'warn_report("a); /* \"b\" */ // c\n");'),
                         ['a); /* "b" */ // c'])

    def test_reason_of_errno(self) -> None:
        self.assertEqual(texts('error_setg_errno(errp, -ret, "cannot");'),
                         ['cannot: %s'])

    def test_comments(self) -> None:
        self.assertEqual(texts('/* error_report("a"); */\n'
                               '// the guest\'s error_report("b");\n'
                               'error_report(/* c */ "d");'), ['d'])

    def test_what_does_not_reach_users(self) -> None:
        self.assertEqual(texts('error_setg(&error_abort, "internal");\n'
                               'error_report("%s: %s", a, b);\n'
                               'error_vreport(fmt, ap);\n'
                               'trace_report("trace");\n'
                               'void error_report(const char *fmt, ...);'), [])

    def test_call_without_end(self) -> None:
        with self.assertRaisesRegex(ParseError, 'a.c:2: .* does not end'):
            texts('\nerror_report("a"')

    def test_patch_adds_messages(self) -> None:
        self.assertEqual(
            [(message.place, message.text) for source in
             hunks_of('a.patch', PATCH) for message in messages_in(source)],
            [('a.patch: hw/a.c:11', 'half new %s'),
             ('a.patch: hw/a.c:13', 'fresh')])


class ComparisonTest(unittest.TestCase):
    """Messages and entries that belong together, and that do not."""

    def check(self, text: str, entry: str, same: bool) -> None:
        with self.subTest(text, entry=entry):
            self.assertEqual(compare([Message('a.c:1', text)], [entry]),
                             [] if same else [
                                 f'a.c:1: the manual has no "{text}"',
                                 f'the manual has "{entry}", which no message '
                                 'can be'])

    def test_values(self) -> None:
        for entry in ('memory X+Y: ...', 'memory 0x1000+0x1000: Bad address'):
            self.check('memory 0x%d+0x%d: %s', entry, True)
        self.check('100%% of %-3.1f', '100% of N', True)

    def test_other_words(self) -> None:
        for entry in ('memory X', 'memory X: ...', 'the memory X is bad',
                      'memory X is bad; ...', 'memory ... bad'):
            self.check('memory %s is bad', entry, False)
        self.check('failed: %s', 'failed: X, perhaps', False)

    def test_sections(self) -> None:
        text = ('Page\n====\n\nMessages\n--------\n\n'
                'Here are *no entries*.\n\n'
                '*one X*, *two*\n  Text with *emphasis*.\n\n'
                '*three* (host)\n  Text.\n\nOther\n-----\n\n*four*\n  Text.\n')
        self.assertEqual(entries_in(sections_of('a.rst', text), MESSAGES),
                         ['one X', 'two', 'three'])


class MessagesTest(unittest.TestCase):
    """Our messages, and those that the manual lists as ours."""

    def setUp(self) -> None:
        self.messages = our_messages()
        self.entries = entries_in(manual(), MESSAGES)
        self.assertGreater(len(self.messages), 30)

    def test_same_messages(self) -> None:
        problems = compare(self.messages, self.entries)
        self.assertEqual('\n'.join(problems), '')

    def test_each_message_counts(self) -> None:
        """Change a word of each message, as if its entries were old."""
        for message in self.messages:
            entries = [entry for entry in self.entries
                       if message.pattern().fullmatch(entry)]
            word = max(re.findall('[A-Za-z]{3,}', message.text), key=len)
            changed = Message(message.place,
                              message.text.replace(word, f'{word}s'))
            with self.subTest(message.text):
                self.assertTrue(entries)
                self.assertEqual(len(compare([changed], entries)),
                                 1 + len(entries))

    def test_other_messages_are_not_ours(self) -> None:
        others = entries_in(manual(), OTHER_MESSAGES)
        self.assertTrue(others)
        ours = [entry for entry in others
                if any(message.pattern().fullmatch(entry)
                       for message in self.messages)]
        self.assertEqual(ours, [])


class OptionsTest(unittest.TestCase):
    """Properties of devices and objects."""

    def test_same_options(self) -> None:
        documented = documented_options()
        for base in bases():
            with self.subTest(base):
                self.assertEqual(
                    options_in([*own_sources(),
                                *patch_sources(PATCHES / f'qemu-{base}')]),
                    documented)

    def test_property_without_description(self) -> None:
        self.assertEqual(options_in([Source(
            'a.c', 'DEFINE_PROP_BOOL("x-a", A, a, false),')]), {'x-a': ''})

    def test_same_values(self) -> None:
        """The manual, the description and the message have the same values.

        A size is any power of two.
        """
        section = next(section.text() for section in manual()
                       if section.title == 'Options' and
                       'x-shared-dma-extent' in section.text())
        values = re.findall(r'(?m)^``([a-z]+)``', section)
        self.assertIn('(default)', section)
        words = documented_options()['x-shared-dma-extent'].split(': ')[1]
        self.assertEqual(re.split(', (?:or )?', words), [*values, 'a size'])
        quoted = next(entry for entry in entries_in(manual(), MESSAGES)
                      if "'X' is none of" in entry).split('none of')[1]
        self.assertEqual(re.findall("'([a-z]+)'", quoted), values)


class QueriesTest(unittest.TestCase):
    """QMP and HMP commands, events and counters, in "Monitoring"."""

    def setUp(self) -> None:
        self.section = next(section for section in manual()
                            if section.page == PAGE and
                            section.title == 'Monitoring')
        self.schema = SCHEMA.read_text(encoding='utf-8')

    def documented(self, pattern: str) -> set[str]:
        return set(re.findall(f'``({pattern})``', self.section.text()))

    def defined(self, kind: str) -> set[str]:
        return set(re.findall(rf"'{kind}': '([\w-]+)'", self.schema))

    def check(self, defined: Iterable[str], documented: set[str]) -> None:
        self.assertTrue(defined)
        self.assertEqual(set(defined), documented)

    def test_qmp_commands(self) -> None:
        self.check(self.defined('command'),
                   self.documented(r'(?:x-)?query-[\w-]+'))

    def test_events(self) -> None:
        self.check(self.defined('event'),
                   self.documented('[A-Z]+(?:_[A-Z]+)+'))

    def test_hmp_commands(self) -> None:
        for base in bases():
            added = [name for path in (PATCHES / f'qemu-{base}').iterdir()
                     for name in re.findall(
                         r'(?m)^\+ +\{ *\.name *= "([\w-]+)"',
                         path.read_text(encoding='utf-8'))]
            with self.subTest(base):
                self.check([f'info {name}' for name in added],
                           self.documented(r'info [\w-]+'))

    def test_counters(self) -> None:
        """All counters that the manual explains exist."""
        members = set(re.findall(r"'\*?([\w-]+)': (?:'|\{ 'type')",
                                 self.schema))
        counters = re.findall('``([a-z-]+)``',
                              '\n'.join(self.section.terms()))
        self.assertTrue(counters)
        self.assertLessEqual(set(counters), members)


if __name__ == '__main__':
    unittest.main()
