"""Runs functions in the interpreter of the published client: pickled requests in, answers out.

A request is (source file, first line, source, name, arguments); an answer is (succeeded, value or
traceback). What the functions print goes to standard error.
"""

import ast
import os
import pickle
import sys
import textwrap
import traceback


def call(path, line, source, name, arguments):
    tree = ast.parse(textwrap.dedent(source))
    tree.body[0].decorator_list = []
    ast.increment_lineno(tree, line - 1)
    namespace = {}
    exec(compile(tree, path, "exec"), namespace)
    return namespace[name](**arguments)


def main():
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        try:
            answer = (True, call(*request))
        except BaseException:
            answer = (False, traceback.format_exc())
        pickle.dump(answer, answers)
        answers.flush()


main()
