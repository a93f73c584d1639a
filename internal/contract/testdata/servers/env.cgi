#!/bin/sh
# What a CGI server makes of a request, as lines NAME=value: the environment as it
# gives it, also where it gives a name twice.
printf 'Content-Type: text/plain\r\n\r\nSERVER=cgi\nPATH=%s\n' "$PATH_INFO"
tr '\0' '\n' </proc/$$/environ
