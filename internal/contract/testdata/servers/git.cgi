#!/bin/sh
# CGI names a header HTTP_REMOTE_USER, and the user that the server knows REMOTE_USER.
REMOTE_USER=$HTTP_REMOTE_USER exec git http-backend
