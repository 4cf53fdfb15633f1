# SPDX-License-Identifier: GPL-2.0-or-later

"""An error that names the thing, the reason and the way out."""


class Problem(Exception):

    def __init__(self, subject: object, cause: str, remedy: str) -> None:
        super().__init__(f'error: {subject}: {cause}\n  {remedy}')
