"""Chains, runs, evaluations and compiles as one page of HTML that needs no network and no server.

What is shown is JSON in the page (`run`, `evaluation`, `chain` make it, each as a section); `page` puts it in, and the
files beside it draw it: `report.css`, and the scripts in the order in which `page` names them.
"""
