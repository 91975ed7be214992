"""What `http-without-timeout` must and must not report."""

import http.client
import smtplib
import socket
import urllib.request
from urllib.request import urlopen

import httpx
import requests


def bad(url):
    # ruleid: http-without-timeout
    requests.get(url)
    # ruleid: http-without-timeout
    requests.post(url, json={}, timeout=None)
    session = requests.Session()
    # ruleid: http-without-timeout
    session.get(url)
    # ruleid: http-without-timeout
    urlopen(url)
    # ruleid: http-without-timeout
    httpx.Client(timeout=None)
    # ruleid: http-without-timeout
    http.client.HTTPSConnection("example.test")
    # ruleid: http-without-timeout
    socket.create_connection(("example.test", 80))
    # ruleid: http-without-timeout
    smtplib.SMTP("example.test", 25)


def good(url, seconds):
    # ok: http-without-timeout
    requests.get(url, timeout=seconds)
    session = requests.Session()
    # ok: http-without-timeout
    session.post(url, json={}, timeout=seconds)
    # ok: http-without-timeout
    urllib.request.urlopen(url, timeout=seconds)
    # ok: http-without-timeout
    httpx.get(url)
    # ok: http-without-timeout
    socket.create_connection(("example.test", 80), seconds)
    # ok: http-without-timeout
    smtplib.SMTP("example.test", 25, timeout=seconds)
    # ok: http-without-timeout
    {}.get(url)
