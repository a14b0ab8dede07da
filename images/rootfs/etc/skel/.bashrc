# Interactive shells of a workspace. It starts no program, so that the first prompt comes at once.
case $- in
*i*) ;;
*) return ;;
esac

HISTCONTROL=ignoreboth
HISTSIZE=10000
HISTFILESIZE=20000
shopt -s histappend checkwinsize globstar

case ":$PATH:" in
*":$HOME/.local/bin:"*) ;;
*) PATH="$HOME/.local/bin:$PATH" ;;
esac

alias ls='ls --color=auto' ll='ls -l' la='ls -A' grep='grep --color=auto'

# The branch is read from the file that holds it: running git for every prompt would be felt.
__prompt_branch() {
    local folder=$PWD head
    branch=
    while [ -n "$folder" ] && [ ! -f "$folder/.git/HEAD" ]; do folder=${folder%/*}; done
    [ -n "$folder" ] || return 0
    read -r head <"$folder/.git/HEAD" || return 0
    case $head in
    ref:\ refs/heads/*) branch=" (${head#ref: refs/heads/})" ;;
    *) branch=" (${head:0:8})" ;;
    esac
}
PROMPT_COMMAND=__prompt_branch
PS1='\[\e[1;32m\]\u@\h\[\e[0m\]:\[\e[1;34m\]\w\[\e[0;36m\]$branch\[\e[0m\]\$ '

# Completion is loaded by the first Tab.
__load_completion() {
    complete -r -D
    . /usr/share/bash-completion/bash_completion
    return 124
}
complete -D -F __load_completion
