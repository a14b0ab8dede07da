#!/usr/bin/env bash
# Installs code-server, the peer of `bench workbench`, from npm into a folder and prints the folder.
# Usage: code-server.sh CACHE-FOLDER. Wants node and npm, a C++ compiler, python3; not root.
set -euo pipefail

# The last release for Node 20.
readonly VERSION=4.100.3
readonly CACHE=${1:?usage: code-server.sh CACHE-FOLDER}
key=$({ sha256sum <"${BASH_SOURCE[0]}"; node --version; } | sha256sum | cut -c 1-16)
readonly FOLDER=$CACHE/code-server-$VERSION-$key

install_into() {
  local server=$1/node_modules/code-server
  # Install scripts are left out: one downloads a binary, one wants headers that few machines have.
  # The native parts that the server does load are then built by name; Kerberos is not among them.
  (
    cd "$1"
    npm install --ignore-scripts --no-audit --no-fund --loglevel=error "code-server@$VERSION"
    npm rebuild argon2
    cd "$server/lib/vscode"
    npm install --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error
    npm_config_yes=true npm rebuild node-pty @vscode/spdlog @parcel/watcher native-watchdog @vscode/deviceid
    ln -sfn node_modules node_modules.asar
    # Search in files wants ripgrep; the measurements do not search.
    if command -v rg >/dev/null; then
      mkdir -p node_modules/@vscode/ripgrep/bin
      ln -sfn "$(command -v rg)" node_modules/@vscode/ripgrep/bin/rg
    fi
    cd extensions
    npm install --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error
  ) >&2
}

if [[ ! -d $FOLDER ]]; then
  mkdir -p "$CACHE"
  work=$(mktemp -d "$CACHE/code-server.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  printf '{"private": true}\n' >"$work/package.json"
  install_into "$work"
  # Somebody else may have been faster; theirs is the same.
  mv -T "$work" "$FOLDER" 2>/dev/null || [[ -d $FOLDER ]]
fi
printf '%s\n' "$FOLDER"
