<?php
// PHP's built-in server, with this as its only file. What it makes of a request,
// as lines NAME=value.
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
echo "SERVER=php\n";
foreach ([$path, rawurldecode((string) $path), $_SERVER['PATH_INFO'] ?? ''] as $reading) {
	if (is_string($reading) && $reading !== '') {
		echo "PATH=$reading\n";
	}
}
foreach ($_SERVER as $name => $value) {
	if (str_starts_with($name, 'HTTP_')) {
		echo "$name=$value\n";
	}
}
