"""The rules of OmniDocBench v1.6: what differs from those of v1.5, which stand beside this package.

Source: the evaluator as vendored in open-compass/VLMEvalKit pull request 1572 (fb4d575).
"""
