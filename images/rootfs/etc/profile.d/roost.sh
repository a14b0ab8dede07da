# A workspace's shell: own programs first, a short coloured prompt with the branch, and a quiet pager.
case ":$PATH:" in
*":$HOME/.local/bin:"*) ;;
*) PATH="$HOME/.local/bin:$PATH" ;;
esac
export PATH LANG="${LANG:-en_US.UTF-8}" EDITOR="${EDITOR:-nano}" LESS="${LESS:--FRX}"
