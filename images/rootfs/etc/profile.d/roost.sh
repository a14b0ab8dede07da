# Login shells of a workspace: programs of one's own first, UTF-8, an editor that explains itself, a pager that leaves.
case ":$PATH:" in
*":$HOME/.local/bin:"*) ;;
*) PATH="$HOME/.local/bin:$PATH" ;;
esac
export PATH LANG="${LANG:-en_US.UTF-8}" EDITOR="${EDITOR:-nano}" LESS="${LESS:--FRX}"
